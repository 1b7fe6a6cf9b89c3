// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"strings"
	"testing"

	"tickedge/internal/topics"
)

func mustPrivate(t testing.TB, list string) *Private {
	t.Helper()
	p, err := ParsePrivate(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// claimOf is what a token's claim becomes.
func claimOf(t testing.TB, p *Private, list ...string) *Patterns {
	t.Helper()
	of, ok := newPatterns(list, p)
	if !ok {
		t.Fatalf("%q is no claim", list)
	}
	return of
}

func TestParsePrivate(t *testing.T) {
	for list, want := range map[string]string{"": "", " , ": "", "alerts:": "alerts:", "me/, alerts: ,me/": "alerts:,me/", "a": "a"} {
		if p, err := ParsePrivate(list); err != nil || p.String() != want {
			t.Errorf("%q: %v, %v", list, p, err)
		}
	}
	for _, list := range []string{"alerts:*", "a b:", strings.Repeat("a", PrivatePrefixMax+1), "alerts:,alerts:x", "a,ab,b", "a,aa,b,\x00",
		"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"} {
		if p, err := ParsePrivate(list); err == nil {
			t.Errorf("%q became %v", list, p)
		}
	}
	if p := mustPrivate(t, "alerts:"); !p.Has([]byte("alerts:1")) || !p.Has([]byte("alerts:")) || p.Has([]byte("alerts")) || p.Has([]byte("AAPL")) {
		t.Error("which names are private is wrong")
	}
}

// The expected names of long and odd users are from another implementation:
//
//	python3 -c 'import base64,hashlib,sys; print("~~"+base64.urlsafe_b64encode(hashlib.sha256(sys.argv[1].encode()).digest()).decode().rstrip("="))' …
func TestPrivateName(t *testing.T) {
	for sub, want := range map[string]string{
		"42": "alerts:42", "Ann.Lee_9-x@example.com": "alerts:Ann.Lee_9-x@example.com", "auth0|42": "alerts:auth0~7C42",
		"a b*,{}\"\\": "alerts:a~20b~2A~2C~7B~7D~22~5C", "~": "alerts:~7E", "~7E": "alerts:~7E7E", "ü": "alerts:~C3~BC", ":": "alerts:~3A",
		strings.Repeat("x", 57): "alerts:" + strings.Repeat("x", 57),
		strings.Repeat("x", 58): "alerts:~~Xviy5eegQPMd-c8xa4HJIybI21GsKbuA2RTslZDYPpk",
	} {
		got := PrivateName("alerts:", sub)
		if got != want {
			t.Errorf("%q: %q, want %q", sub, got, want)
		}
	}
}

// Every user has a name, which is one of a topic and nobody else's.
func FuzzPrivateName(f *testing.F) {
	f.Add("42", "43")
	f.Add("~7E", "~")
	f.Add(strings.Repeat("ü", 20), strings.Repeat("ü", 19))
	f.Add("a|", "a~7C")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, prefix := range []string{"a", "alerts:", strings.Repeat("p", PrivatePrefixMax)} {
			x, y := PrivateName(prefix, a), PrivateName(prefix, b)
			if !topics.ValidName(x) || !strings.HasPrefix(x, prefix) || (a == b) != (x == y) {
				t.Fatalf("%q is %q and %q is %q", a, x, b, y)
			}
		}
	})
}

// Who has a private name: by its whole name in the claim, or as its own, and in no other way.
func TestGrant(t *testing.T) {
	p := mustPrivate(t, "alerts:,me/")
	for _, c := range []struct {
		name, user string
		claim      []string // Nil is no claim.
		allowed    []string
	}{
		{"no token", "", nil, []string{"AAPL"}},
		{"no claim", "42", nil, []string{"AAPL", "alerts:42", "me/42"}},
		{"all", "42", []string{"*"}, []string{"AAPL", "alerts:42", "me/42"}},
		{"a pattern of them", "7", []string{"alerts:*", "alerts:4*"}, nil},
		{"whole names beside patterns", "7", []string{"*", "alerts:*", "alerts:43"}, []string{"AAPL", "alerts:43"}},
		{"a whole name", "7", []string{"alerts:42"}, []string{"alerts:42"}},
		{"nothing", "42", []string{}, []string{"alerts:42", "me/42"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &Grant{User: c.user, Private: p}
			if c.claim != nil {
				g.Topics = claimOf(t, p, c.claim...)
			}
			allowed := ""
			for _, name := range []string{"AAPL", "alerts:", "alerts:4", "alerts:42", "alerts:43", "alerts:421", "alerts:4*", "alerts:*", "me/42"} {
				if g.Allows([]byte(name)) {
					allowed += name + " "
				}
				if private := p.Has([]byte(name)); private && g.Names([]byte(name)) != g.Allows([]byte(name)) {
					t.Errorf("%s is allowed: %v, by its name: %v", name, g.Allows([]byte(name)), g.Names([]byte(name)))
				}
			}
			if want := strings.Join(c.allowed, " "); strings.TrimSpace(allowed) != want {
				t.Errorf("allowed: %s; want %s", allowed, want)
			}
		})
	}
	if g := (&Grant{}); !g.Allows([]byte("alerts:42")) || g.Allows([]byte("tickedge:control")) || !g.Allows([]byte("tickedge")) {
		t.Error("the zero grant is not all names but those of the edges")
	}
	if g := (&Grant{Topics: claimOf(t, p, "*", "tickedge:control")}); g.Allows([]byte("tickedge:control")) {
		t.Error("a claim allows a name of the edges")
	}
}

func TestGrantDoesNotAllocate(t *testing.T) {
	p := mustPrivate(t, DefaultPrivate)
	g := &Grant{User: "auth0|" + strings.Repeat("x", 49), Private: p, Topics: claimOf(t, p, "*", "alerts:1")}
	own := []byte(PrivateName("alerts:", g.User))
	if n := testing.AllocsPerRun(100, func() {
		if !g.Allows(own) || g.Allows(own[:20]) || !g.Allows([]byte("AAPL")) {
			t.Fatal("another answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Patterns work as before with names that they have twice: by themselves and by a prefix.
func TestPatternsThatKeepPrivateNames(t *testing.T) {
	p := mustPrivate(t, DefaultPrivate)
	of := claimOf(t, p, "a*", "alerts:2", "alerts:1", "b", "alpha")
	for name, want := range map[string]bool{"alerts:1": true, "alerts:3": true, "b": true, "c": false, "alpha": true} {
		if of.Allows([]byte(name)) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if !of.Names([]byte("alerts:1")) || of.Names([]byte("alpha")) {
		t.Error("a private name that a prefix covers is to be kept, and no other")
	}
	if next, ok := of.Next("Z"); !ok || next != "a" {
		t.Errorf("behind Z is %q", next)
	}
	if next, ok := of.Next("az"); ok && next < "az" {
		t.Errorf("behind az is %q", next)
	}
	if all := claimOf(t, p, "*", "AAPL"); all != nil {
		t.Error("all names and one of them are not all names")
	}
}
