// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"net/url"
	"strings"
)

// userNow is the user of the URL that was set last.
func (u *upstream) userNow() *url.Userinfo {
	now := u.login.Renewed.URL(u.login.URL)
	if now == u.login.URL || !SameServers(now, u.login.URL) {
		return u.user
	}
	if renewed, err := (Config{URL: now, Timeout: u.timeout}).upstream(); err == nil {
		return renewed.user
	}
	return u.user // A file of its options is not to be read just now, which the connection says too.
}

// SameServers reports whether two URLs differ in user and password, or in the token, alone.
func SameServers(a, b string) bool { return withoutUser(a) == withoutUser(b) }

func withoutUser(raw string) string {
	scheme, rest, _ := strings.Cut(raw, "://")
	authority, query, _ := strings.Cut(rest, "?")
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	return strings.ToLower(scheme) + "://" + authority + "?" + query
}
