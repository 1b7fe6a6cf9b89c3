// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
)

// Wherever a password may stand, escaped or not, neither -check nor an error shows a part of it.
func TestNoPasswordIsShown(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for range 40 {
		password, parts := redistest.Password(random)
		for _, p := range []string{password, redistest.Percent(password)} {
			for _, args := range [][]string{
				{"-redis", "redis://u:" + p + "@h:1/2"},
				{"-redis", "fx:*,EURUSD=X=rediss://:" + p + "@h", "-redis", "unix://u:" + p + "@/run/r.sock"},
				{"-redis", "redis-sentinel://u:" + p + "@h/m?sentinel_user=u&sentinel_password=" + p},
				{"-redis", "redis-cluster://u:" + p + "@a,b", "-redis-channel", "c:{{topic}}", "-redis-key", "{{topic}}"},
				{"EDGE_REDIS", "fx:*=redis://u:" + p + "@a redis://:" + p + "@b"},
				{"EDGE_REDIS", "redis://u:" + p + "@a\n"},
				{"-jwt-jwks-url", "https://h/keys?key=" + p},
				{"-jwt-jwks-url", "https://u:" + p + "@h/keys"},
				{"EDGE_JWT_JWKS_URL", "https://h/keys?key=" + p + "\n"},
				{"EDGE_JWT_SECRET", strings.Repeat(p, 10) + "\n"},
				{"EDGE_JWT_SECRET", p},
				{"-listen", "redis://u:" + p + "@h"},
				{"-interval", "redis://u:" + p + "@h"},
				{"-redis-channel", "redis://u:" + p + "@h"},
				{"-redis-channel", "redis://u:a@# " + p + "@h"}, // An @ and a blank in the password.
				{"-origin", "https://u:" + redistest.Percent(p) + "@h,*"},
				{"EDGE_ADMIN", "redis://u:" + p + "@h"},
				{"-origin", "https://u:" + p + "@h"},
				{"-path", "https://u:" + p + "@h"},
				{"-topics", "https://u:" + p + "@h"},
				{"-trust-proxy", "https://u:" + p + "@h"},
				{"EDGE_ADMIN_HOST", "https://u:" + p + "@h"},
				{"-redis://u:" + p + "@h"},
				{"redis://u:" + p + "@h"},
			} {
				text, code := shown(t, args)
				for _, part := range parts {
					if strings.Contains(text, part) {
						t.Fatalf("seed %d: %q shows %s (code %d):\n%s", seed, args, part, code, text)
					}
				}
			}
		}
	}
}

// shown runs -check with flags, or with a variable in the environment.
func shown(t *testing.T, args []string) (text string, code int) {
	t.Helper()
	all := []string{"-check"}
	if name, is := strings.CutPrefix(args[0], "EDGE_"); is {
		t.Setenv("EDGE_"+name, args[1])
		defer t.Setenv("EDGE_"+name, "")
	} else {
		all = append(all, args...)
	}
	var stdout, stderr logtest.Log
	code = Main(t.Context(), all, nil, &stdout, &stderr)
	return stdout.String() + stderr.String(), code
}

// What a file or a shell has left behind a value in the environment is none of it.
func TestLineEndsInTheEnvironment(t *testing.T) {
	t.Setenv("EDGE_REDIS", "redis://u:p@h:1\r\n")
	t.Setenv("EDGE_JWT_JWKS_URL", "https://h/keys\n")
	c, err := Parse(nil)
	if err != nil || c.tokens.JWKSURL != "https://h/keys" || fmt.Sprint(c.given().list) != "[redis://u:xxxxx@h:1]" {
		t.Errorf("%v, %v", c.given().list, err)
	}
}

// A blank in a URL is said to be one, and is not the end of it.
func TestBlankInAURL(t *testing.T) {
	text, code := shown(t, []string{"-redis", "redis://u:1 23@h"})
	if code != app.Usage || !strings.Contains(text, "a blank as it is. In the user or the password write it as %20") || strings.Contains(text, "source 2") {
		t.Errorf("code %d:\n%s", code, text)
	}
}
