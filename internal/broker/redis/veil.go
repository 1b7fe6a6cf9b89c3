// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/resp"
)

// veil keeps passwords out of the errors of a client of go-redis, whoever logs them. They come in
// what the other side says: Redis repeats the arguments of commands that it does not know, such as
// AUTH where that was renamed, and what is no Redis may repeat anything.
type veil []string

// newClient returns a client whose errors have no password in them.
func newClient(o *goredis.Options) *goredis.Client {
	c := goredis.NewClient(o)
	c.AddHook(veil{o.Password})
	return c
}

// DialHook implements [goredis.Hook], as do the next two.
func (veil) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (v veil) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		err := v.hide(next(ctx, cmd))
		cmd.SetErr(v.hide(cmd.Err()))
		return err
	}
}

func (v veil) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		err := v.hide(next(ctx, cmds))
		for _, cmd := range cmds {
			if err := cmd.Err(); err != nil {
				cmd.SetErr(v.hide(err))
			}
		}
		return err
	}
}

// hide returns err, or one of the same kind that does not have the passwords. Only what the other
// side has said can have them.
func (v veil) hide(err error) error {
	var said goredis.Error
	var broken *resp.Error
	var ours net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF):
	case errors.As(err, &said):
		if text := err.Error(); conceal(text, v...) != text {
			return redisError(conceal(said.Error(), v...))
		}
	case errors.As(err, &broken):
		if v.repeats(broken.Near) {
			return &resp.Error{What: broken.What, Near: "(not shown)"}
		}
	case errors.As(err, &ours):
	default: // go-redis quotes what it does not understand.
		if text := err.Error(); v.repeats(text) {
			begins, _, _ := strings.Cut(text, `"`)
			return errors.New(conceal(begins, v...) + "(not shown)")
		}
	}
	return err
}

// repeats reports whether a text has a password in it, or may have the beginning of one, as the
// other side has repeated the command that it is in.
func (v veil) repeats(text string) bool {
	lower := strings.ToLower(text)
	return conceal(text, v...) != text || strings.Contains(lower, "auth") || strings.Contains(lower, "hello")
}

// ownWords is an error without what the other side has said, for where its passwords are not known.
func ownWords(err error) string {
	var said goredis.Error
	var broken *resp.Error
	var ours net.Error
	switch {
	case errors.As(err, &said), errors.As(err, &broken):
	case errors.As(err, &ours), errors.Is(err, io.EOF), errors.Is(err, context.Canceled), errors.Is(err, errNoHost):
		return err.Error()
	}
	return "(not shown here, as it may repeat a password)"
}

// repeated is how Redis begins to repeat the arguments of a command, of which it may cut the last.
const repeated = "with args beginning with"

// conceal returns a text of the other side without passwords, as they are or quoted, and without
// what Redis repeats of a command. The code that an error begins with stays: a password may be
// like one.
func conceal(text string, passwords ...string) string {
	if at := strings.Index(text, repeated); at >= 0 {
		text = text[:at] + "(not shown)"
	}
	code, rest, _ := strings.Cut(text, " ")
	if strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		code, rest = "", text
	} else if len(code) < len(text) {
		code += " "
	}
	for _, p := range passwords {
		if p == "" {
			continue
		}
		rest = strings.ReplaceAll(rest, p, "xxxxx")
		quoted := strconv.Quote(p)
		rest = strings.ReplaceAll(rest, quoted[1:len(quoted)-1], "xxxxx")
	}
	return code + rest
}
