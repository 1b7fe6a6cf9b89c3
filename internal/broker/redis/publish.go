// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"cmp"
	"context"
	"errors"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// write is try, but for ticks that Redis does not permit: they are found by halves, and have their fate.
func (p *Publisher) write(ctx context.Context, ticks []broker.Tick, again bool) error {
	err := p.try(ctx, ticks, again)
	if err == nil || causeOf(err) != broker.NotPermitted {
		return err
	}
	if len(ticks) == 1 {
		p.forbid(&ticks[0], err)
		return nil
	}
	half := len(ticks) / 2 // Some may have been written, in a cluster.
	if err := p.write(ctx, ticks[:half], true); err != nil {
		return err
	}
	return p.write(ctx, ticks[half:], true)
}

// denied is the error of a transaction, or that of its command which is not permitted: Redis says so when it comes,
// and gives up the transaction at its end.
func denied(said []goredis.Cmder, err error) error {
	for _, cmd := range said {
		if of := cmd.Err(); of != nil && causeOf(of) == broker.NotPermitted {
			return of
		}
	}
	return err
}

func (p *Publisher) forbid(t *broker.Tick, err error) {
	t.Fate = broker.Forbidden
	if p.refusedLog.now() {
		p.log.Warn("publisher: topics are not permitted, and not written", "topic", t.Topic, "error", err,
			"hint", "permit the Redis user the keys and channels of the topics, and the commands that docs/FEED.md lists for publishers")
	}
}

// try writes ticks once, and sets the fate of each. again says that they may have been written
// before: what Redis has then in the tick's own version is the tick.
func (p *Publisher) try(ctx context.Context, ticks []broker.Tick, again bool) error {
	pipe := p.client.TxPipeline()
	if p.up.kind == sharded {
		pipe = p.client.Pipeline() // Each tick is a transaction by itself: a script.
	}
	var asked []fenced
	for i := 0; i < len(ticks); {
		n, err := p.addFenced(ctx, pipe, ticks[i:], &asked, again)
		if n > 0 {
			i += n
			continue
		}
		if err == nil {
			err = broker.CheckTick(ticks[i])
		}
		if ticks[i].Fate = broker.Taken; err != nil {
			ticks[i].Fate = broker.Flawed
		} else {
			p.add(ctx, pipe, ticks[i])
		}
		i++
	}
	if said, err := pipe.Exec(ctx); err != nil {
		return denied(said, err)
	}
	for _, f := range asked {
		if err := p.fates(f, again); err != nil {
			return err
		}
	}
	return nil
}

// inShard sets and publishes one tick in a Redis Cluster, where a transaction over many
// topics is not possible, because they are in different slots.
const inShard = `redis.call('SET',KEYS[1],ARGV[1]) return redis.call('SPUBLISH',KEYS[2],ARGV[1])`

// add adds what writes one tick without a version.
func (p *Publisher) add(ctx context.Context, pipe goredis.Pipeliner, t broker.Tick) {
	key, channel := p.key.name(t.Topic), p.channel.name(t.Topic)
	if p.up.kind == sharded {
		pipe.Process(ctx, goredis.NewIntCmd(ctx, "eval", inShard, 2, key, channel, t.Value))
		return
	}
	pipe.Process(ctx, goredis.NewStatusCmd(ctx, "set", key, t.Value))
	if p.cfg.Mode == ModeStream {
		// About as many as are to be kept: to the entry it would cost far more.
		pipe.Process(ctx, goredis.NewStringCmd(ctx, "xadd", p.cfg.Stream, "maxlen", "~", p.cfg.Entries, "*",
			streamTopic, t.Topic, streamValue, t.Value))
		return
	}
	pipe.Process(ctx, goredis.NewIntCmd(ctx, "publish", channel, t.Value))
}

// fence writes each tick whose version is above that of the value that its key holds. ARGV has their
// number, negative if they may have been written before, and then version, value, and channel or topic of
// each. The version of a value stands at its end, where [broker.Stamp] has put it, and is compared as digits: a number of Lua would make two of
// what are nanoseconds the same. In a value that another publisher wrote it may be anywhere. It
// returns the fates: 0 is written, 1 older than what there is, 2 the same version as that, and 3 that the
// channel is not permitted: the key has the value, and others of the script are told.
//
// All keys are read by one command, and written by one: each costs a script a microsecond. What is no
// string is read as nothing, and replaced.
//
// What may have been written before, and is there, is told of again: its channel was not permitted, or is not now.
const fence = `local n, fates, set, at, new = tonumber(ARGV[1]), {}, {}, {}, {}
local again = n < 0
n = math.abs(n)
local all = redis.call('MGET', unpack(KEYS, 1, n))
for i = 1, n do
  local key, ver, held = KEYS[i], ARGV[3*i-1], all[i]
  local have = new[key]
  if not have and held then
    have = string.match(held, '[,{]"ver":([1-9]%d*)}$')
    if not have and string.find(held, '"ver"', 1, true) then
      local ok, t = pcall(cjson.decode, held)
      local v = ok and type(t) == 'table' and t.ver
      if type(v) == 'number' then have = string.format('%.0f', v) else have = type(v) == 'string' and string.match(v, '^[1-9]%d*$') end
    end
  end
  if have and (#have > #ver or #have == #ver and have >= ver) then
    fates[i] = have == ver and 2 or 1
    if again and held == ARGV[3*i] then at[#at+1] = i end
  else
    fates[i], new[key] = 0, ver
    set[#set+1], set[#set+2], at[#at+1] = key, ARGV[3*i], i
  end
end
if #set > 0 then redis.call('MSET', unpack(set)) end
for _, i in ipairs(at) do `

// How a tick is told of behind the fence.
const (
	fenceChannel = fence + "local said = redis.pcall('PUBLISH', ARGV[3*i+1], ARGV[3*i])" + fenceCheck + fenceEnd
	fenceShard   = fence + "local said = redis.pcall('SPUBLISH', KEYS[2], ARGV[3*i])" + fenceCheck + fenceEnd
	fenceStream  = fence + "redis.call('XADD', KEYS[#KEYS], 'MAXLEN', '~', ARGV[#ARGV], '*', '" + streamTopic + "', ARGV[3*i+1], '" + streamValue + "', ARGV[3*i])" + fenceEnd
	fenceCheck   = " if type(said) == 'table' and said.err then fates[i] = 3 end"
	fenceEnd     = " end\nreturn fates"
)

var errChannel = errors.New("NOPERM: no permission for the channel of the topic")

var errTopic = errors.New("the topic is not valid: want " + topics.NameRule)

// fencedMax bounds the ticks of one script. Redis serves nobody else meanwhile.
const fencedMax = 100

// fenced are ticks whose fates a script returns.
type fenced struct {
	ticks []broker.Tick
	cmd   *goredis.IntSliceCmd
}

// addFenced adds what writes the first of ticks, which have versions, up to one that has none or
// can't be written, and returns how many they are; 0 with an error if the first can't be written.
func (p *Publisher) addFenced(ctx context.Context, pipe goredis.Pipeliner, ticks []broker.Tick, asked *[]fenced, again bool) (n int, err error) {
	most := fencedMax
	if p.up.kind == sharded {
		most = 1
	}
	var keys, argv []any
	for n < min(most, len(ticks)) && ticks[n].Ver != 0 {
		t := ticks[n]
		value, flaw := broker.Stamp(t.Value, t.Ver)
		if flaw != nil || !topics.ValidName(t.Topic) {
			err = cmp.Or(flaw, errTopic)
			break
		}
		to := p.channel.name(t.Topic)
		if p.cfg.Mode == ModeStream {
			to = t.Topic
		}
		keys = append(keys, p.key.name(t.Topic))
		argv = append(argv, strconv.FormatInt(t.Ver, 10), value, to)
		n++
	}
	if n == 0 {
		return 0, err
	}
	script := fenceChannel
	number := n
	if again {
		number = -n
	}
	argv = append([]any{number}, argv...)
	switch {
	case p.up.kind == sharded:
		script = fenceShard
		keys = append(keys, p.channel.name(ticks[0].Topic))
	case p.cfg.Mode == ModeStream:
		script = fenceStream
		keys = append(keys, p.cfg.Stream)
		argv = append(argv, p.cfg.Entries)
	}
	args := append([]any{"eval", script, len(keys)}, append(keys, argv...)...)
	cmd := goredis.NewIntSliceCmd(ctx, args...)
	pipe.Process(ctx, cmd)
	*asked = append(*asked, fenced{ticks[:n], cmd})
	return n, nil
}

// fates sets the fates of the ticks.
func (p *Publisher) fates(f fenced, again bool) error {
	said, err := f.cmd.Result()
	if err != nil {
		return err
	}
	for i := range f.ticks {
		switch {
		case i < len(said) && said[i] == 0, i < len(said) && said[i] == 2 && again:
			f.ticks[i].Fate = broker.Taken
		case i < len(said) && said[i] == 3:
			p.forbid(&f.ticks[i], errChannel)
		default:
			f.ticks[i].Fate = broker.Outdated
		}
	}
	return nil
}
