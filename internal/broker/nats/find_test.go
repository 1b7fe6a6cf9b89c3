// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"fmt"
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"
)

// A stream that has only some of the subjects, or others, is not read for all topics: those that it hasn't would never
// tick. A stream whose messages are deleted as they are read is no place for newest values.
func TestStreamOfAPart(t *testing.T) {
	s, _ := startServer(t, t.TempDir(), -1)
	nc := dialServer(t, s)
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for name, subject := range map[string]string{"ORDERS": "orders.>", "PART": "md.kline.>"} {
		if _, err := js.AddStream(&natsgo.StreamConfig{Name: name, Subjects: []string{subject}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{"{topic}", "md.{topic}"} {
		f := runCore(t, Config{URL: fmt.Sprintf("nats://edge:%s@%s?subject=%s", secret, s.Addr(), subject)})
		f.acquire("A")
		f.until("A ticks", func() bool {
			if err := nc.Publish(strings.Replace(subject, "{topic}", "A", 1), []byte("1")); err != nil {
				t.Fatal(err)
			}
			return f.value("A") == "1"
		})
	}
	for url, want := range map[string]string{"mode=jetstream": "only a part", "stream=QUEUE": "retention"} {
		if _, err := js.AddStream(&natsgo.StreamConfig{Name: "QUEUE", Subjects: []string{"md.q.>"}, Retention: natsgo.InterestPolicy}); err != nil {
			t.Fatal(err)
		}
		u, err := Config{URL: fmt.Sprintf("nats://edge:%s@%s?subject=md.{topic}&%s", secret, s.Addr(), url)}.upstream()
		if err != nil {
			t.Fatal(err)
		}
		err = newSource(u, newEar(), newLogger(t)).runLink(t.Context(), func(_, how string) { t.Error("up by " + how) })
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(hint(err), "see the log") {
			t.Errorf("%s: %v, hint %s", url, err, hint(err))
		}
	}
}

// Who may not look for streams asks publishers all the same.
func TestForbiddenLook(t *testing.T) {
	u, err := Config{URL: "nats://127.0.0.1:1"}.upstream()
	if err != nil {
		t.Fatal(err)
	}
	l := newCoreLink(newSource(u, newEar(), newLogger(t)), nil)
	l.denied(api+"STREAM.NAMES", true)
	select {
	case <-l.mute:
		t.Error("no publisher is asked any more")
	default:
	}
	if !l.blind.Load() {
		t.Error("it is asked for again and again")
	}
}

// Of what publishers answer the newest counts, though one that has stopped publishing long ago answers first, for
// subjects of which it was not asked too, and another answers what is no answer.
func TestOldPublisherAnswersFirst(t *testing.T) {
	s, _ := startServer(t, "", -1)
	nc := dialServer(t, s)
	_, err := nc.Subscribe(newestSubject, func(m *natsgo.Msg) {
		for _, answer := range []string{
			"no answer", `{"values":[{"subject":"A","value":{"ver":1}},{"subject":"B","value":{"ver":1}}]}`,
			`{"values":[{"subject":"A","value":{"ver":3}}]}`, `{"values":[{"subject":"A","value":{"ver":2}}]}`,
		} {
			if err := m.Respond([]byte(answer)); err != nil {
				t.Error(err)
			}
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	f := runCore(t, Config{URL: coreURL(s.Addr().String(), secret)})
	f.acquire("A")
	f.until("A has a value", func() bool { return f.value("A") != "" })
	if got := f.value("A"); got != `{"ver":3}` {
		t.Errorf("A shows %s", got)
	}
}
