// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {readFileSync, readdirSync} from 'node:fs';
import ts from 'typescript';

const schemas = new URL('../../../docs/schemas/', import.meta.url);
const load = (name) => JSON.parse(readFileSync(new URL(name, schemas), 'utf8'));

/** What plain HTTP is answered with, for which there is no part of this package. */
const plain = new Set(['alert.json', 'alerts.json', 'alerts-fired.json', 'alerts-price.json', 'history.json', 'names.json', 'price.json', 'prices.json', 'problem.json']);

/** The interface of a schema's file, where it is not its title. */
const names = {error: 'ProtocolError', update: 'TopicUpdate', screen: 'ScreenUpdate'};
const interfaceOf = (file) => names[file] ?? file.replace(/^command-(.*)/, '$1-command').replace(/(^|-)./g, (m) => m.at(-1).toUpperCase());

const file = new URL('../types/messages.d.ts', import.meta.url).pathname;
const program = ts.createProgram([file], {strict: true, exactOptionalPropertyTypes: true}), checker = program.getTypeChecker();
const exported = new Map(checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file))).map((s) => [s.name, checker.getDeclaredTypeOfSymbol(s)]));

/** resolve follows references, and returns the schema and the file that it is in. */
function resolve(s, base) {
  if (!s.$ref) return [s, base];
  const [, name, path] = /^([^#]*)#\/(.*)$/.exec(s.$ref);
  return resolve(path.split('/').reduce((o, k) => o[k], load(name || base)), name || base);
}

/** written is how TypeScript writes the type that a schema stands for, or undefined if that is an object's. */
function written(s, base) {
  if (s.oneOf) return s.oneOf.map((of) => written(...resolve(of, base))).join(' | ');
  if (s.type === 'array') return written(...resolve(s.items, base)) + '[]';
  if ('const' in s) return JSON.stringify(s.const);
  if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(' | ');
  if (!s.type) return 'V';
  const of = [].concat(s.type).map((t) => t === 'integer' ? 'number' : t).sort().reverse();
  return of.join(' | ');
}

/** compare returns what of a schema and a type does not fit together. */
function compare(schema, type, path, from) {
  const [s, base] = resolve(schema, from);
  if (s.type === 'array') {
    assert.ok(checker.isArrayType(type), `${path} is an array`);
    return compare(s.items, checker.getTypeArguments(type)[0], path + '[]', base);
  }
  if (s.type !== 'object') {
    const is = checker.typeToString(type), want = written(s, base);
    return is === want || is.split(' | ').sort().join() === want.split(' | ').sort().join() ? [] : [`${path}: ${is}, not ${want}`];
  }
  const wrong = [], has = new Map(type.getProperties().map((p) => [p.name, p]));
  for (const [name, of] of Object.entries(s.properties)) {
    const p = has.get(name), at = `${path}.${name}`;
    if (!p) { wrong.push(`${at} is missing`); continue; }
    has.delete(name);
    const optional = !!(p.flags & ts.SymbolFlags.Optional), t = checker.getTypeOfSymbol(p);
    if (optional === (s.required ?? []).includes(name)) wrong.push(`${at}: optional is ${optional}`);
    wrong.push(...compare(of, optional ? checker.getNonNullableType(t) : t, at, base));
  }
  for (const name of has.keys()) wrong.push(`${path}.${name} is not in the schema`);
  return wrong;
}

test('the types of messages are those of docs/schemas', () => {
  const files = readdirSync(schemas).filter((f) => f !== 'common.json' && !f.includes('-word') && !plain.has(f)), seen = new Set(), wrong = [];
  for (const f of files) {
    const name = f.replace('.json', ''), type = exported.get(interfaceOf(name));
    seen.add(interfaceOf(name));
    if (type) wrong.push(...compare(load(f), type, name, f)); else wrong.push(`there is no ${interfaceOf(name)}`);
  }
  assert.deepEqual(wrong, []);
  assert.ok(seen.size > 15);
  for (const name of ['Message', 'Command']) {
    for (const t of exported.get(name).types) {
      const is = t.symbol.name;
      assert.ok(seen.delete(is), `${is} has no schema`);
    }
  }
  assert.deepEqual([...seen], [], 'in none of the unions');
});
