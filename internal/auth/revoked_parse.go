// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	revokedBytesMax = 64 << 20
	revokedLineMax  = 16 << 10 // A jti is shorter than a token.
)

// What is wrong with an entry. None repeats it: it may be a token by mistake.
var (
	errRevokedLine = errors.New(`want "jti ID", "sub USER" or "sub USER before TIME", and comments behind #`)
	errRevokedText = errors.New("want UTF-8, as tokens have it")
	errRevokedWord = errors.New(`want one word, or a JSON string in quotes if there are blanks, quotes or # in it`)
	errRevokedID   = errors.New("want a jti of at least one byte")
	errWholeToken  = errors.New("this is a whole token: want its jti")
	errRevokedUser = errors.New("want a sub of 1 to 255 bytes without control characters")
	errRevokedTime = errors.New("want a time such as 2026-11-28T15:00:00Z, or in seconds since 1970")
	errRevokedMost = fmt.Errorf("more than %d entries: leave out those whose tokens have ended", RevokedMost)
)

func (l *revokedList) full() bool { return len(l.ids)+len(l.users) >= RevokedMost }

func (r *Revocations) addID(l *revokedList, id string) error {
	switch {
	case l.full():
		return errRevokedMost
	case id == "":
		return errRevokedID
	case strings.HasPrefix(id, "eyJ") && strings.Count(id, ".") == 2:
		return errWholeToken
	}
	l.ids = append(l.ids, r.hash(id))
	return nil
}

func (r *Revocations) addUser(l *revokedList, user string, before uint32) error {
	switch {
	case l.full():
		return errRevokedMost
	case !validUser(user):
		return errRevokedUser
	}
	l.users = append(l.users, revokedUser{r.hash(user), before})
	return nil
}

// parseLines parses the lines of a file.
func (r *Revocations) parseLines(from io.Reader) (*revokedList, error) {
	l := new(revokedList)
	limited := &io.LimitedReader{R: from, N: revokedBytesMax + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, revokedLineMax)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Bytes()
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if err := r.parseLine(l, string(line)); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d: longer than %d bytes", n+1, revokedLineMax)
	case err != nil:
		return nil, err
	case limited.N == 0:
		return nil, fmt.Errorf("longer than %d MiB: leave out entries whose tokens have ended", revokedBytesMax>>20)
	}
	l.sort()
	return l, nil
}

func (r *Revocations) parseLine(l *revokedList, line string) error {
	if !utf8.ValidString(line) {
		return errRevokedText
	}
	kind, rest, err := nextWord(line)
	if err != nil || kind == "" {
		return err
	}
	if kind != "jti" && kind != "sub" {
		return errRevokedLine
	}
	name, rest, err := nextWord(rest)
	if err != nil {
		return err
	}
	before := uint32(always)
	if word, behind, _ := nextWord(rest); kind == "sub" && word == "before" {
		if word, rest, err = nextWord(behind); err != nil {
			return err
		}
		if before, err = parseBefore(word); err != nil {
			return err
		}
	}
	if more, _, err := nextWord(rest); more != "" || err != nil {
		return errRevokedLine
	}
	if kind == "jti" {
		return r.addID(l, name)
	}
	return r.addUser(l, name, before)
}

// nextWord takes the next word of a line: up to a blank, or a JSON string. It is empty at the end and before a comment.
func nextWord(line string) (word, rest string, err error) {
	const blanks = " \t\r"
	line = strings.Trim(line, blanks)
	switch {
	case line == "" || line[0] == '#':
		return "", "", nil
	case line[0] == '"':
		value, err := jsontext.NewDecoder(strings.NewReader(line)).ReadValue()
		if err != nil || json.Unmarshal(value, &word) != nil {
			return "", "", errRevokedWord
		}
		if rest = line[len(value):]; rest != "" && !strings.ContainsRune(blanks, rune(rest[0])) {
			return "", "", errRevokedWord
		}
		return word, rest, nil
	}
	if end := strings.IndexAny(line, blanks); end >= 0 {
		word, rest = line[:end], line[end:]
	} else {
		word = line
	}
	if strings.ContainsAny(word, `"#`) {
		return "", "", errRevokedWord
	}
	return word, rest, nil
}

// parseBefore returns a time in seconds, rounded up.
func parseBefore(text string) (uint32, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		seconds := t.Unix()
		if t.Nanosecond() > 0 {
			seconds++
		}
		return secondsOf(seconds)
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errRevokedTime
	}
	return secondsOf(seconds)
}

func secondsOf(seconds int64) (uint32, error) {
	if seconds < 1 || seconds > always { // Milliseconds are more.
		return 0, errRevokedTime
	}
	return uint32(seconds), nil
}

// revokedValue is a list in a topic. Other members, such as a version, are for others.
type revokedValue struct {
	IDs   *[]string         `json:"jti"`
	Users *[]jsontext.Value `json:"sub"`
}

type revokedEntry struct {
	User   string         `json:"sub"`
	Before jsontext.Value `json:"before"`
}

var errRevokedValue = errors.New(`want {"jti":["ID"],"sub":["USER",{"sub":"USER","before":1795878000}]}, and of both at least one, which may be empty`)

// parseValue parses a value of a topic.
func (r *Revocations) parseValue(value string) (*revokedList, error) {
	var v revokedValue
	if json.Unmarshal([]byte(value), &v) != nil || v.IDs == nil && v.Users == nil {
		return nil, errRevokedValue
	}
	l := new(revokedList)
	if v.IDs != nil {
		for i, id := range *v.IDs {
			if err := r.addID(l, id); err != nil {
				return nil, fmt.Errorf("jti %d: %w", i+1, err)
			}
		}
	}
	if v.Users != nil {
		for i, user := range *v.Users {
			if err := r.addEntry(l, user); err != nil {
				return nil, fmt.Errorf("sub %d: %w", i+1, err)
			}
		}
	}
	l.sort()
	return l, nil
}

// addEntry adds a sub that is a string, or an object with a time.
func (r *Revocations) addEntry(l *revokedList, value jsontext.Value) (err error) {
	e := revokedEntry{}
	if value.Kind() == '"' {
		err = json.Unmarshal(value, &e.User)
	} else {
		err = json.Unmarshal(value, &e, json.RejectUnknownMembers(true))
	}
	if err != nil {
		return errRevokedValue
	}
	before := uint32(always)
	switch {
	case e.Before.Kind() == '"':
		var text string
		if json.Unmarshal(e.Before, &text) != nil {
			return errRevokedTime
		}
		before, err = parseBefore(text)
	case len(e.Before) > 0:
		before, err = parseBefore(string(e.Before))
	}
	if err != nil {
		return err
	}
	return r.addUser(l, e.User, before)
}
