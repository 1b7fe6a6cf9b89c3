// SPDX-License-Identifier: Apache-2.0

// Package auth says who may connect: from which web pages ([Origins]), with which
// tokens ([Verifier]), which of these were revoked ([Revocations]), and which topics a token
// allows ([Patterns]).
//
// What loops call, [Origins.Allow], [Verifier.Verify] and [Patterns.Allows], does no
// I/O, takes no lock and may be called from any goroutine. Keys from a JWKS URL are
// fetched by [Verifier.Run] in a goroutine of its own; the loops read the newest set
// through an atomic pointer.
//
// A verification costs the loop that does it CPU time, whether the token turns out to be
// good or not. The best of several runs of BenchmarkVerify on two shared cores, with
// go test -run '^$' -bench Verify/ -count 5 ./internal/auth:
//
//	HS256, HS384, HS512                  3 to 5 µs
//	RS256 to RS512, PS256 to PS512      31 to 44 µs with a key of 2048 bits
//	EdDSA                               48 µs
//	ES256                               76 µs
//	RS256                              450 µs with a key of 4096 bits
//	ES384                              570 µs
//	ES512                             1700 µs
//
// So a core can look at some 20,000 tokens a second, but at 600 signed with ES512, and
// whoever can open connections can send tokens: limit their rate before that. What is no
// token at all, or names no key of ours, is refused in less than 20 µs. A well signed token
// with a list of 1,000 topics takes 0.3 ms (BenchmarkVerifyWorst).
//
// No token, no secret and no part of one is ever in an error or a log line: what
// refuses a token is a [Reason], which has no place for one.
package auth
