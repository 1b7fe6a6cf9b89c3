// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// revoking returns lists of which the file says these lines.
func revoking(t testing.TB, lines string) *Revocations {
	t.Helper()
	r := NewRevocations()
	list, err := r.parseLines(strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	r.set(RevokedFile, list)
	return r
}

// user returns a token of alice with more claims.
func user(more string) string { return hs(`{"sub":"alice","exp":1700000600` + more + `}`) }

func TestRevokedTokens(t *testing.T) {
	const jti, iat = `,"jti":"a1"`, `,"iat":1699990000`
	for _, tc := range []struct {
		name, lines, more string
		revoked           bool
	}{
		{"nothing", "", jti + iat, false},
		{"another jti", "jti a2", jti, false},
		{"its jti", "jti a0\njti a1\njti a2", jti, true},
		{"no jti", "jti a1", "", false},
		{"an empty jti", "jti a1", `,"jti":""`, false},
		{"a jti that is no string", "jti 1", `,"jti":1`, false},
		{"another user", "sub bob\nsub alic\nsub alice2", jti, false},
		{"a jti of the user's name", "jti alice", jti, false},
		{"the user", "sub bob\nsub alice", jti + iat, true},
		{"the user, from then on", "sub alice before 1699990001", iat, true},
		{"the user, before that", "sub alice before 1699990000", iat, false},
		{"a part of a second", "sub alice before 2023-11-14T19:26:40.5Z", iat, true},
		{"the same time", "sub alice before 2023-11-14T19:26:40Z", iat, false},
		{"another zone", "sub alice before 2023-11-14T20:26:41+01:00", iat, true},
		{"no time in the token", "sub alice before 1", "", true},
		{"a time that is none", "sub alice before 1", `,"iat":"1699990000"`, true},
		{"a part of a second in the token", "sub alice before 1699990001", `,"iat":1699990000.9`, true},
		{"a time far away", "sub alice before 1699990001", `,"iat":1e300`, false},
		{"always, and a time far away", "sub alice", `,"iat":1e300`, true},
		{"the latest of several", "sub alice before 5\nsub alice before 1699990001\nsub alice before 7", iat, true},
		{"all of several", "sub alice before 5\nsub alice", iat, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			claims, err := newVerifier(t, Config{Secret: secret64, Revoked: revoking(t, tc.lines)}).Verify([]byte(user(tc.more)), now)
			if tc.revoked != (err == Revoked) || tc.revoked != (err != nil) || tc.revoked && claims != (Claims{}) {
				t.Errorf("%+v, %v", claims, err)
			}
			// What is kept of it says the same.
			r := NewRevocations()
			claims, err = newVerifier(t, Config{Secret: secret64, Revoked: r}).Verify([]byte(user(tc.more)), now)
			if err != nil || r.Has(claims.User, claims.ID, claims.Issued) {
				t.Fatalf("%+v, %v", claims, err)
			}
			list, err := r.parseLines(strings.NewReader(tc.lines))
			if err != nil {
				t.Fatal(err)
			}
			r.set(RevokedTopic, list)
			if r.Has(claims.User, claims.ID, claims.Issued) != tc.revoked {
				t.Errorf("of %+v is kept something else", claims)
			}
		})
	}
}

// Who revokes nothing keeps nothing, and has none that says so.
func TestNothingIsRevoked(t *testing.T) {
	v := newVerifier(t, Config{Secret: secret64})
	claims, err := v.Verify([]byte(user(`,"jti":"a","iat":1699990000`)), now)
	if err != nil || claims.ID != 0 || claims.Issued != 0 {
		t.Errorf("%+v %v", claims, err)
	}
	if r := v.Revocations(); r != nil || r.Has("alice", 1, 1) || r.Changed() != nil || (*Verifier)(nil).Revocations() != nil {
		t.Error("there are revocations")
	}
}

// Two hashes of one jti differ by process, and those of all entries are found again, the first and the last too.
func TestRevokedAmongMany(t *testing.T) {
	const n = 1000
	var lines, half strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "jti j%d\nsub u%d before %d\n", i, i, 1000+i)
		fmt.Fprintf(&half, "jti j%d\n", i/2)
	}
	r := revoking(t, lines.String())
	for i := range n {
		id, name := r.hash(fmt.Sprint("j", i)).hi, fmt.Sprint("u", i)
		other := r.hash(fmt.Sprint("x", i)).hi
		if !r.Has("nobody", id, 1) || r.Has("nobody", other, 1) || !r.Has(name, 0, uint32(999+i)) || r.Has(name, 0, uint32(1000+i)) {
			t.Fatal(i)
		}
	}
	if s := r.Stats(); s.IDs != n || s.Users != n {
		t.Errorf("%+v", s)
	}
	if s := revoking(t, half.String()).Stats(); s.IDs != n/2 || s.Users != 0 {
		t.Errorf("%+v", s)
	}
	if other := NewRevocations(); r.hash("a") == other.hash("a") || r.hash("a").hi == r.hash("a").lo {
		t.Error("a hash can be known")
	}
}

func TestRevokedLines(t *testing.T) {
	token := "jti " + user("")
	for _, tc := range []struct{ text, err string }{
		{"", ""},
		{"\n# a comment\n  \t\r\njti a # and another\r\n\tsub\tb before 5#no\n", "line 5: " + errRevokedWord.Error()},
		{"\ufeffjti a\n", ""},
		{"jti a#b", "line 1: " + errRevokedWord.Error()},
		{`jti "a \"b\" #c"` + "\n" + `sub "a b" before 2026-11-28T15:00:00Z # x`, ""},
		{`sub "before"`, ""},
		{"jti a\njit b", "line 2: " + errRevokedLine.Error()},
		{"jti", "line 1: " + errRevokedID.Error()},
		{`jti ""`, "line 1: " + errRevokedID.Error()},
		{"jti a b", "line 1: " + errRevokedLine.Error()},
		{"jti a before 5", "line 1: " + errRevokedLine.Error()},
		{"sub a before 5 6", "line 1: " + errRevokedLine.Error()},
		{"sub a after 5", "line 1: " + errRevokedLine.Error()},
		{"sub a before", "line 1: " + errRevokedTime.Error()},
		{"sub a before 0", "line 1: " + errRevokedTime.Error()},
		{"sub a before 1732800000000", "line 1: " + errRevokedTime.Error()},
		{"sub a before yesterday", "line 1: " + errRevokedTime.Error()},
		{"sub #a", "line 1: " + errRevokedUser.Error()},
		{"sub " + strings.Repeat("a", 256), "line 1: " + errRevokedUser.Error()},
		{"sub " + strings.Repeat("a", 255), ""},
		{`sub "a`, "line 1: " + errRevokedWord.Error()},
		{`sub "a"b`, "line 1: " + errRevokedWord.Error()},
		{`sub a"b"`, "line 1: " + errRevokedWord.Error()},
		{"sub a\xff", "line 1: " + errRevokedText.Error()},
		{token, "line 1: " + errWholeToken.Error()},
		{"jti a\njti " + strings.Repeat("a", revokedLineMax), fmt.Sprintf("line 2: longer than %d bytes", revokedLineMax)},
	} {
		_, err := NewRevocations().parseLines(strings.NewReader(tc.text))
		if got := fmt.Sprint(err); got != tc.err && (tc.err != "" || err != nil) {
			t.Errorf("%.60q: %s, want %q", tc.text, got, tc.err)
		}
	}
}

// endless is a file without an end, of comments.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		if p[i] = '#'; i%1000 == 999 {
			p[i] = '\n'
		}
	}
	return len(p), nil
}

func TestRevokedLimits(t *testing.T) {
	r := NewRevocations()
	if _, err := r.parseLines(endless{}); err == nil || !strings.Contains(err.Error(), "64 MiB") {
		t.Error(err)
	}
	text := bytes.Repeat([]byte("jti a\n"), RevokedMost)
	if _, err := r.parseLines(bytes.NewReader(text)); err != nil {
		t.Error(err)
	}
	text = append(text, "sub b\n"...)
	if _, err := r.parseLines(bytes.NewReader(text)); err == nil || err.Error() != fmt.Sprintf("line %d: %v", RevokedMost+1, errRevokedMost) {
		t.Error(err)
	}
}

func TestRevokedValues(t *testing.T) {
	for _, tc := range []struct {
		value, err string
		ids, users int
	}{
		{`{"jti":[],"sub":[]}`, "", 0, 0},
		{`{"jti":["a","b"],"ver":5}`, "", 2, 0},
		{`{"sub":["a",{"sub":"b","before":1732800000},{"sub":"c","before":"2026-11-28T15:00:00Z"},{"sub":"d"}]}`, "", 0, 4},
		{`{}`, errRevokedValue.Error(), 0, 0},
		{`{"subs":["a"]}`, errRevokedValue.Error(), 0, 0},
		{`null`, errRevokedValue.Error(), 0, 0},
		{`["a"]`, errRevokedValue.Error(), 0, 0},
		{`{"jti":"a"}`, errRevokedValue.Error(), 0, 0},
		{`{"jti":[""]}`, "jti 1: " + errRevokedID.Error(), 0, 0},
		{`{"jti":["x"],"sub":["a",5]}`, "sub 2: " + errRevokedValue.Error(), 0, 0},
		{`{"sub":[{"sub":"a","befor":5}]}`, "sub 1: " + errRevokedValue.Error(), 0, 0},
		{`{"sub":[{"before":5}]}`, "sub 1: " + errRevokedUser.Error(), 0, 0},
		{`{"sub":[{"sub":"a","before":null}]}`, "sub 1: " + errRevokedTime.Error(), 0, 0},
		{`{"sub":[{"sub":"a","before":"soon"}]}`, "sub 1: " + errRevokedTime.Error(), 0, 0},
		{`{"sub":[{"sub":"a","before":1.5}]}`, "sub 1: " + errRevokedTime.Error(), 0, 0},
	} {
		r := NewRevocations()
		before := r.Changed()
		err := r.TakeValue(tc.value)
		if tc.err == "" != (err == nil) || err != nil && !strings.HasSuffix(err.Error(), tc.err) {
			t.Errorf("%s: %v, want %q", tc.value, err, tc.err)
		}
		if s := r.Stats(); s.IDs != tc.ids || s.Users != tc.users {
			t.Errorf("%s: %+v", tc.value, s)
		}
		select {
		case <-before:
			if err != nil {
				t.Errorf("%s: something has changed", tc.value)
			}
		default:
			if err == nil {
				t.Errorf("%s: nobody is told", tc.value)
			}
		}
	}
	// A value that is none leaves the list that there was, and both lists count.
	r := revoking(t, "jti file")
	for _, value := range []string{`{"sub":["u"]}`, `{"sub":`} {
		if err := r.TakeValue(value); (err == nil) != strings.HasSuffix(value, "}") {
			t.Error(err)
		}
		if !r.Has("u", 0, 5) || !r.Has("", r.hash("file").hi, 5) || r.Has("v", r.hash("u").hi, 5) {
			t.Error(value)
		}
	}
}

// replace has a file say something else, as a program does that writes another and renames it.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestRevokedFile(t *testing.T) {
	path := write(t, "revoked", []byte("sub a"))
	var log bytes.Buffer
	r, at := NewRevocations(), time.Now()
	look := func(lines int, said string, has string, current bool) {
		t.Helper()
		at = at.Add(revokedLook)
		log.Reset()
		r.lookAt(path, at, slog.New(slog.NewTextHandler(&log, nil)))
		if n := strings.Count(log.String(), "\n"); n != lines || !strings.Contains(log.String(), said) || strings.Contains(log.String(), "oops") {
			t.Errorf("said %q, want %d lines and %q", log.String(), lines, said)
		}
		for _, u := range []string{"a", "b", "c"} {
			if r.Has(u, 0, 5) != (u == has) {
				t.Errorf("%s: want %s", u, has)
			}
		}
		if r.Stats().Current != [RevokedLists]bool{RevokedFile: current} {
			t.Errorf("current is %v", r.Stats().Current)
		}
	}
	look(1, "sub=1", "a", true)
	look(0, "", "a", true)
	replace(t, path, "sub b")
	changed := r.Changed()
	look(1, "was read", "b", true)
	select {
	case <-changed:
	default:
		t.Error("nobody is told")
	}
	replace(t, path, "sub b") // Written again, and says the same.
	changed = r.Changed()
	look(0, "", "b", true)
	select {
	case <-changed:
		t.Error("somebody is told of nothing")
	default:
	}
	replace(t, path, "sub c\noops")
	look(1, "line 2: want", "b", false)
	look(0, "", "b", false)
	replace(t, path, "sub c\noops") // Another file that says the same.
	look(0, "", "b", false)
	replace(t, path, "sub cc\noops")
	look(1, "line 2: want", "b", false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(1, "no such file", "b", false)
	look(0, "", "b", false)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	look(1, "it is no file", "b", false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	replace(t, path, "sub c")
	look(1, "was read", "c", true)
}

// A file that is written twice while its time stands still is read again, and one that was not changed is not, for a while.
func TestRevokedFileOfOneTime(t *testing.T) {
	path := write(t, "revoked", []byte("sub a"))
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	rewrite := func(text string) { // In place, and of the same length.
		t.Helper()
		f := must(os.OpenFile(path, os.O_WRONLY, 0))
		must(f.WriteString(text))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("sub a")
	r := NewRevocations()
	read := func(at time.Time, want string) {
		t.Helper()
		if _, err := r.ReadFile(path, at); err != nil || !r.Has(want, 0, 5) {
			t.Errorf("%s is not in the list: %v", want, err)
		}
	}
	read(old.Add(time.Second), "a")
	rewrite("sub b")
	read(old.Add(2*time.Second), "b") // It was read so soon that it could change.
	read(old.Add(10*time.Second), "b")
	rewrite("sub c")
	read(old.Add(11*time.Second), "b")
	read(old.Add(11*time.Second+revokedReread), "c")
}

func TestWatchedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked")
	replace(t, path, "sub a")
	if err := CheckRevokedFile(path); err != nil {
		t.Error(err)
	}
	if err := CheckRevokedFile(path + "x"); err == nil {
		t.Error("no error of a file that is not there")
	}
	r := NewRevocations()
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { r.WatchFile(ctx, path, slog.New(slog.DiscardHandler)) })
	eventually(t, "the first list", func() bool { return r.Has("a", 0, 5) })
	replace(t, path, "sub b")
	eventually(t, "the second list", func() bool { return r.Has("b", 0, 5) && !r.Has("a", 0, 5) })
	cancel()
	watching.Wait()
}

// Tokens are looked at while lists come and go. A user that is in all of them is found each time.
func TestRevokedRace(t *testing.T) {
	r := revoking(t, "sub alice\njti x")
	v := newVerifier(t, Config{Secret: secret64, Revoked: r})
	token := []byte(user(`,"jti":"y"`))
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for k := range 200 {
				if i == 0 {
					list, err := r.parseLines(strings.NewReader(fmt.Sprintf("sub u%d\nsub alice\n", k)))
					if err != nil {
						t.Error(err)
						return
					}
					r.set(RevokedFile, list)
					_ = r.TakeValue(fmt.Sprintf(`{"jti":["%d"]}`, k))
					continue
				}
				<-afterOr(r.Changed())
				if _, err := v.Verify(token, now); err != Revoked || !r.Has("alice", 7, 5) {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// afterOr returns a channel that is ready, and has looked at another.
func afterOr(c <-chan struct{}) <-chan struct{} {
	select {
	case <-c:
		return c
	default:
		ready := make(chan struct{})
		close(ready)
		return ready
	}
}

// What docs/SECURITY.md says of the memory of a list.
func TestRevokedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("a million entries")
	}
	var text bytes.Buffer
	for i := range RevokedMost {
		fmt.Fprintf(&text, "jti 9f8e7d6c-0000-4000-8000-%012d\n", i)
	}
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	path := write(t, "revoked", text.Bytes())
	size := text.Len()
	text = bytes.Buffer{}
	r, before, begin := NewRevocations(), held(), time.Now()
	if _, err := r.ReadFile(path, begin); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	if got := int64(held()) - int64(before); got > 22<<20 {
		t.Errorf("%d bytes are held", got)
	} else {
		t.Logf("%d bytes are held for a file of %d, which took %v", got, size, took)
	}
	runtime.KeepAlive(r)
}

func BenchmarkRevoked(b *testing.B) {
	var text bytes.Buffer
	for i := range RevokedMost / 2 {
		fmt.Fprintf(&text, "jti %d\nsub u%d\n", i, i)
	}
	r := revoking(b, text.String())
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		if r.Has("nobody-at-all", uint64(i)*0x9e3779b97f4a7c15, 5) {
			b.Fatal("found")
		}
	}
}

// Whatever a list says, it is taken or refused with a line; and what was taken is told the same by both forms.
func FuzzRevoked(f *testing.F) {
	for _, text := range []string{"jti a\nsub b before 5", `sub "a b"`, `{"jti":["a"],"sub":["b",{"sub":"c","before":5}]}`, "#\n\xff", `sub "\u0000"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := NewRevocations()
		if list, err := r.parseLines(strings.NewReader(text)); err == nil {
			if n := len(list.ids) + len(list.users); n > strings.Count(text, "\n")+1 {
				t.Fatalf("%d entries", n)
			}
		} else if !strings.HasPrefix(err.Error(), "line ") {
			t.Fatal(err)
		}
		err := r.TakeValue(text)
		if s := r.Stats(); err != nil && s.IDs+s.Users > 0 {
			t.Fatalf("%v and %+v", err, s)
		}
		// Any sub that a token may have can be written in a line.
		if validUser(text) && strings.ToValidUTF8(text, "") == text {
			quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
			if err := r.parseLine(new(revokedList), `sub "`+quoted+`" before 5 # x`); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		}
	})
}
