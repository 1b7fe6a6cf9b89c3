// SPDX-License-Identifier: Apache-2.0

package protocol

import "strconv"

// Screen is what a screen is asked for beside its topics, unchecked.
type Screen struct {
	Name, Where, By []byte
	Top             int // 0: it is not ranked.
}

// screen reads a member of a screen, as parse does.
func (p *Parser) screen(name string, found *members) (wrong *CommandError, err error) {
	v, err := p.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	if name == "top" {
		if p.cmd.Screen.Top, err = strconv.Atoi(string(v)); err != nil || p.cmd.Screen.Top < 1 {
			return malformed("top is a whole number from 1"), nil
		}
		return nil, nil
	}
	if v.Kind() != '"' {
		return malformed("%s is a string", name), nil
	}
	text := p.unquote(v)
	switch name {
	case "screen":
		found.screen, p.cmd.Screen.Name = true, text
	case "where":
		p.cmd.Screen.Where = text
	case "by":
		p.cmd.Screen.By = text
	}
	return nil, nil
}

// AppendScreenHead appends the payload of what is new in a screen, up to its first row. Rows follow with commas between them, then
// what [AppendScreenEnd] appends. full is whether what the client has of it is forgotten, more whether more of that follows. now is in
// Unix milliseconds.
func AppendScreenHead(dst []byte, now int64, name string, full, more bool) []byte {
	dst = appendInt(dst, `{"t":"screen","ts":`, now)
	dst = appendText(dst, `,"screen":`, name)
	if full {
		dst = append(dst, `,"full":true`...)
	}
	if more {
		dst = append(dst, `,"more":true`...)
	}
	return append(dst, `,"d":[`...)
}

// AppendScreenEnd ends the payload of a screen, with the names that are not in it any more, and those that are in their
// order; nil is none of that.
func AppendScreenEnd(dst []byte, out, order []string) []byte {
	dst = append(dst, ']')
	if len(out) > 0 {
		dst = appendNames(append(dst, `,"out":[`...), out)
	}
	if order != nil {
		dst = appendNames(append(dst, `,"order":[`...), order)
	}
	return append(dst, '}')
}

func appendNames(dst []byte, names []string) []byte {
	for _, name := range names {
		dst = AppendName(dst, name)
	}
	return append(dst, ']')
}

// Screened is a screen as list answers it.
type Screened struct {
	Name, Where, By string
	Topics          []string
	Top             int
}

// appendScreens appends the part of the answer to list that has the screens: nothing if there is none.
func appendScreens(dst []byte, screens []Screened) []byte {
	for i, s := range screens {
		before := `,{"screen":`
		if i == 0 {
			before = `,"screens":[{"screen":`
		}
		dst = appendText(dst, before, s.Name)
		dst = appendNames(append(dst, `,"topics":[`...), s.Topics)
		if s.Where != "" {
			dst = appendText(dst, `,"where":`, s.Where)
		}
		if s.Top > 0 {
			dst = appendText(appendInt(dst, `,"top":`, s.Top), `,"by":`, s.By)
		}
		dst = append(dst, '}')
	}
	if len(screens) > 0 {
		dst = append(dst, ']')
	}
	return dst
}
