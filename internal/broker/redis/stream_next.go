// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"cmp"
	"context"
	"errors"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
)

// nextTries is how often the next entries are asked for while the stream changes between the
// questions.
const nextTries = 3

// next reads the next entries, and the state of the stream at the same moment.
//
// That takes a transaction. A Redis that has as much memory as it may refuses all that is queued in one,
// though it would take the same outside. It adds no entries then, so the state before the entries
// is that behind them too; if it is not, there was memory again.
func (l *streamLink) next(ctx context.Context) (state streamState, entries []goredis.XMessage, err error) {
	for range nextTries {
		state, entries, err = l.nextAtOnce(ctx)
		if causeOf(err) != broker.OutOfMemory {
			return state, entries, err
		}
		pipe := l.read.Pipeline()
		before, read, behind := pipe.XInfoStream(ctx, l.key), l.askEntries(ctx, pipe), pipe.XInfoStream(ctx, l.key)
		execute(ctx, pipe) // Every command has its own error.
		l.heard.Add(1)
		was, stateErr := streamStateOf(before)
		is, againErr := streamStateOf(behind)
		entries, readErr := entriesOf(read)
		if err := cmp.Or(stateErr, readErr, againErr); err != nil || was == is {
			return was, entries, err
		}
	}
	return state, entries, err
}

func (l *streamLink) nextAtOnce(ctx context.Context) (state streamState, entries []goredis.XMessage, err error) {
	pipe := l.read.TxPipeline()
	info, read := pipe.XInfoStream(ctx, l.key), l.askEntries(ctx, pipe)
	execute(ctx, pipe) // Every command has its own error.
	l.heard.Add(1)
	state, err = streamStateOf(info)
	if goredis.IsExecAbortError(err) { // Because of the other command.
		err = cmp.Or(read.Err(), err)
	}
	if err == nil {
		entries, err = entriesOf(read)
	}
	return state, entries, err
}

func (l *streamLink) askEntries(ctx context.Context, pipe goredis.Pipeliner) *goredis.XStreamSliceCmd {
	return pipe.XRead(ctx, &goredis.XReadArgs{Streams: []string{l.key, l.at.String()}, Count: streamMax, Block: -1})
}

// entriesOf are what was read. None are no error.
func entriesOf(read *goredis.XStreamSliceCmd) ([]goredis.XMessage, error) {
	streams, err := read.Result()
	switch {
	case errors.Is(err, goredis.Nil), err == nil && len(streams) == 0:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return streams[0].Messages, nil
}
