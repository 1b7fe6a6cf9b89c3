// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
)

// Which topics cost most is told to operators, private ones too, and to whoever reads metrics without those.
func TestTopTopics(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(tokenSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := start(t, "-redis", redis.URL(), "-jwt-secret-file", secret)
	if status, body := e.get("/debug/top"); status != http.StatusOK || body != "" {
		t.Errorf("without topics: %d %q", status, body)
	}
	token := func(user string) string {
		return signed("HS256", fmt.Sprintf(`{"sub":%q,"exp":%d}`, user, time.Now().Add(time.Hour).Unix()), withSecret)
	}
	for user, topics := range map[string]string{"anneliese": "alerts:anneliese,PUBLIC,LOW", "bob": "PUBLIC"} {
		c, _, err := e.try(arrival{"", "", token(user), "?topics=" + topics})
		if err != nil {
			t.Fatal(err)
		}
		c.next("hello")
	}
	for topic, size := range map[string]int{"alerts:anneliese": 3000, "PUBLIC": 300, "LOW": 3} {
		for range 3 { // Those after the first cost less: they come soon.
			redistest.Eventually(t, "the edge reads "+topic, func() bool {
				return redis.Do("PUBLISH", "channel:prices:"+topic, strings.Repeat("1", size)) == "1"
			})
		}
	}

	type line struct {
		Topic        string
		Subscribers  int
		Bytes, Ticks int64
		Error        int64   `json:"bytes_error"`
		PerSecond    float64 `json:"bytes_per_second"`
		Share        float64
	}
	var top []line
	redistest.Eventually(t, "all ticks are counted", func() bool {
		_, body := e.get("/debug/top?by=ticks")
		top = jsonLines[line](t, body)
		return len(top) == 3 && top[2].Ticks == 3
	})
	_, body := e.get("/debug/top")
	top = jsonLines[line](t, body)
	share := .0
	for i, want := range []struct {
		topic       string
		subscribers int
		row         int64
	}{{"alerts:anneliese", 1, 3000}, {"PUBLIC", 2, 300}, {"LOW", 1, 3}} {
		least := want.row * int64(want.subscribers)
		most := 3 * (want.row + 40) * int64(want.subscribers)
		if of := top[i]; of.Topic != want.topic || of.Subscribers != want.subscribers || of.Ticks != 3 || of.Error != 0 ||
			of.Bytes < least || of.Bytes > most || of.PerSecond <= 0 {
			t.Errorf("%d: %+v, want %+v", i, of, want)
		}
		share += top[i].Share
	}
	if share < .999 || share > 1.001 {
		t.Errorf("the shares are %v together: %+v", share, top)
	}
	_, body = e.get("/debug/top?by=subscribers&n=1")
	if top := jsonLines[line](t, body); len(top) != 1 || top[0].Topic != "PUBLIC" || top[0].Subscribers != 2 || top[0].Share != .5 {
		t.Errorf("the one with the most subscribers: %+v", top)
	}
	for _, query := range []string{"by=name", "n=0", "n=many", "n=1001", "by=bytes&n=-1"} {
		status, body := e.get("/debug/top?" + query)
		if want := "want /debug/top?by=B&n=N with B one of bytes, subscribers, ticks and N from 1 to 1000\n"; status != http.StatusBadRequest || body != want {
			t.Errorf("%s: %d %q", query, status, body)
		}
	}
	if status, _ := e.get("/debug/top?n=1000"); status != http.StatusOK {
		t.Errorf("n=1000: %d", status)
	}

	_, body = e.get("/metrics")
	series := regexp.MustCompile(`(?m)^edge_top_topic_bytes_per_second\{topic="(.*)"\} (.*)$`).FindAllStringSubmatch(body, -1)
	if len(series) != 2 || series[0][1] != "LOW" || series[1][1] != "PUBLIC" || strings.Contains(body, "anneliese") {
		t.Errorf("series %q, want those of LOW and PUBLIC, and nothing of anneliese", series)
	}
}
