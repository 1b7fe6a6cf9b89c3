// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
)

const (
	tokenTimeout = 30 * time.Second
	// A token is renewed when a third of what it has left remains, a minute at most.
	longestLead = time.Minute
	renewPause  = 5 * time.Second
)

// token is the one that was shown last. It is never a part of an error.
type token struct {
	text string
	exp  time.Time // Zero if it can't be read.
	bad  bool      // The edge has refused it.
}

// errSameToken is for a callback that has nothing better.
var errSameToken = errors.New("the token was refused, and there is no other")

// currentToken returns the token to connect with, and asks for one if the last is refused or about to end.
func (c *Client) currentToken(ctx context.Context) (string, error) {
	if c.options.Token == nil {
		return "", nil
	}
	c.mu.Lock()
	last := c.token
	c.mu.Unlock()
	if last.text != "" && !last.bad && (last.exp.IsZero() || time.Until(last.exp) > time.Second) {
		return last.text, nil
	}
	text, err := c.askToken(ctx)
	switch {
	case err != nil:
		return "", err
	case last.bad && text == last.text:
		return "", errSameToken
	}
	c.setToken(text)
	return text, nil
}

// askToken calls the callback. Its error's text is the callback's.
func (c *Client) askToken(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	text, err := c.options.Token(ctx)
	if err != nil {
		return "", errors.New("no token: " + err.Error())
	}
	if text = strings.TrimSpace(text); text == "" || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("no token: it is empty, or has characters that no token has")
	}
	return text, nil
}

func (c *Client) setToken(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token{text: text, exp: expiry(text)}
}

// expiry reads exp of a JWT, which is verified by the edge. Zero if there is none.
func expiry(jwt string) time.Time {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	claims, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}
	}
	var of struct {
		Exp json.Number `json:"exp"`
	}
	if json.Unmarshal(claims, &of) != nil {
		return time.Time{}
	}
	whole, _, _ := strings.Cut(of.Exp.String(), ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || seconds <= 0 || seconds > 1<<40 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// renewal says when a token is to be renewed that ends at exp; zero is never.
func renewal(now, exp time.Time) time.Time {
	if exp.IsZero() {
		return time.Time{}
	}
	left := exp.Sub(now)
	return now.Add(max(left-min(left/3, longestLead), time.Second))
}

// renew asks for a newer token beside the connection, when it is time for it. It is called on the session's goroutine.
func (s *session) renew(ctx context.Context, now time.Time) {
	if s.c.options.Token == nil || s.renewing || s.renewAt.IsZero() || now.Before(s.renewAt) {
		return
	}
	s.renewing, s.renewAt = true, time.Time{}
	old := s.c.token.text
	s.group.Go(func() {
		text, err := s.c.askToken(ctx)
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		s.renewing = false
		if err != nil || text == old {
			s.renewalFailed(time.Now())
		} else {
			s.fresh = text
		}
		s.c.poke()
	})
}

// renewalFailed asks again after a pause. The old token stays in force until it ends.
func (s *session) renewalFailed(now time.Time) {
	left := s.c.token.exp.Sub(now)
	s.renewAt = now.Add(min(max(left/4, time.Second), renewPause))
}

// authorized takes in the ack of a newer token.
func (s *session) authorized(cmd command, m message) {
	c := s.c
	c.token = token{text: cmd.Token, exp: expiry(cmd.Token)}
	s.renewAt = renewal(time.Now(), c.token.exp)
	// What the old one did not allow may be allowed by this one.
	for _, t := range c.topics {
		if t.phase == refused && t.code == 403 {
			t.phase, t.code, t.reason = unasked, 0, ""
			c.review(t)
		}
	}
	for _, r := range m.Rejected {
		s.reject(cmd, r)
	}
	c.allowScreens()
}
