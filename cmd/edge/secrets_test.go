// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"tickedge/internal/broker/redis/redistest"
)

// What an edge was told in secret is nowhere in its log, at debug, nor on its admin port, whatever
// its Redis servers make of it.
func TestRunningEdgeShowsNoSecret(t *testing.T) {
	const secret = `KWQZXJ#/?@%&+"' {}=é\VPHGYF-KWQZXJ-VPHGYF`
	password := redistest.Percent(secret)
	refuses, repeats, nobody := redistest.Start(t, "--requirepass", "another"), redistest.Start(t, "--rename-command", "AUTH", ""), redistest.New(t)
	t.Setenv("EDGE_REDIS", strings.Join([]string{
		"a:*=redis://u:" + password + "@" + refuses.Addr(),
		"b:*=redis://:" + password + "@" + repeats.Addr(),
		"c:*=redis-sentinel://:" + password + "@" + repeats.Addr() + "/m?sentinel_password=" + password,
		"d:*=rediss://u:" + password + "@" + refuses.Addr(),
		"redis://u:" + password + "@" + nobody.Addr(),
	}, " ")+"\n")
	inEnvironment := start(t, "-log-level", "debug", "-jwt-jwks-url", "http://"+nobody.Addr()+"/keys?key="+password)
	t.Setenv("EDGE_REDIS", "")
	t.Setenv("EDGE_JWT_SECRET", secret+"\n")
	inFlags := start(t, "-log-level", "debug", "-redis", "redis://u:"+password+"@"+refuses.Addr())
	sources := map[*edge]int{inEnvironment: 5, inFlags: 1}
	for e := range sources {
		redistest.Eventually(t, "all sources are down", func() bool {
			return strings.Count(e.stderr.String(), `"msg":"feed down"`) == sources[e]
		})
		_, index := e.get("/")
		pages := []string{e.stderr.String()}
		for _, path := range append(strings.Fields(index), "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1") {
			_, page := e.get(path)
			pages = append(pages, path+"\n"+page)
		}
		pages = append(pages, e.stderr.String())
		for _, page := range pages {
			for _, part := range []string{"KWQZXJ", "VPHGYF", password[:12]} {
				if strings.Contains(page, part) {
					t.Errorf("the secret is in %s", page)
				}
			}
		}
		if code := e.stop(); code != 0 {
			t.Errorf("code %d", code)
		}
	}
}
