// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkVerify is what a handshake with a token costs its loop.
func BenchmarkVerify(b *testing.B) {
	b.Run("RS256 of 4096 bits", func(b *testing.B) {
		signer := must(rsa.GenerateKey(rand.Reader, rsaBitsMax))
		v := newVerifier(b, configFor(b, signer))
		token := []byte(mint("RS256", signer, good))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(token, now); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, a := range algorithms {
		b.Run(a.name, func(b *testing.B) {
			v := newVerifier(b, configFor(b, a.signer()))
			token := []byte(mint(a.name, a.signer(), good))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(token, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerifyWorst is what a token can cost that is as long as it may be.
func BenchmarkVerifyWorst(b *testing.B) {
	v := newVerifier(b, Config{Secret: secret64})
	var list strings.Builder
	for i := range patternsMax {
		fmt.Fprintf(&list, `"%s",`, strconv.FormatInt(int64(36+i*7919%1200), 36)) // In no order.
	}
	many := `{"sub":"alice","exp":1700000600,"topics":[` + strings.TrimSuffix(list.String(), ",") + `]}`
	for what, token := range map[string]string{
		"1000 patterns":    hs(many),
		"garbage":          strings.Repeat("a", TokenMax),
		"nested header":    sign("HS256", secret64, strings.Repeat("[", headerMax/4*3), strings.Repeat("x", 5000)),
		"unsigned nesting": mint("HS256", secret64[:32], strings.Repeat("[", 5900)),
		"signed nesting":   hs(strings.Repeat("[", 5900)),
	} {
		b.Run(what, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = v.Verify([]byte(token), now)
			}
		})
	}
}

func BenchmarkAllow(b *testing.B) {
	origins, _ := ParseOrigins("https://app.example.com,https://*.example.org")
	same, _ := ParseOrigins("")
	origin, host := []byte("https://feed.example.org"), []byte("feed.example.org")
	b.Run("list", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			origins.Allow(origin, host)
		}
	})
	b.Run("same", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			same.Allow(origin, host)
		}
	})
}

func BenchmarkPatterns(b *testing.B) {
	list := make([]string, patternsMax)
	for i := range list {
		list[i] = fmt.Sprintf("T%d", i)
	}
	p, _ := newPatterns(list, nil)
	topic := []byte("T777")
	b.ReportAllocs()
	for b.Loop() {
		p.Allows(topic)
	}
}
