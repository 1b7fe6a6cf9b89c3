// SPDX-License-Identifier: Apache-2.0

package grpcapi

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	backofficev1 "tickedge/gen/tickedge/backoffice/v1"
	"tickedge/internal/backoffice"
	"tickedge/internal/broker"
)

func value(topic, value string, ver int64) *backofficev1.PublishRequest {
	return &backofficev1.PublishRequest{Topic: topic, Value: []byte(value), Ver: ver}
}

// Values are answered in their order, each for itself, whatever is wrong with another, by the rules of HTTP.
func TestPublish(t *testing.T) {
	w := serve(t, insecure.NewCredentials(), nil)
	c, err := w.plain().Publish(w.bob())
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		of   *backofficev1.PublishRequest
		want string
	}{
		{value("A", `{"p":1}`, 7), "A/7 TAKEN "},
		{value("A", `{"p":2,"ver":9}`, 0), "A/9 TAKEN "},
		{value("A", `{"p":2,"ver":9}`, 8), "A/8 INVALID the value"},
		{value("A B", `{}`, 1), "/0 INVALID the topic is not valid"},
		{value("", `{}`, 1), "/0 INVALID the topic is not valid"},
		{value("tickedge:control", `{}`, 1), "tickedge:control/0 INVALID topics that begin with tickedge:"},
		{value("A", `{}`, -1), "A/0 INVALID ver is to be"},
		{value("A", `{nonsense`, 1), "A/1 INVALID the value is"},
		{value("A", ``, 1), "A/1 INVALID the value is"},
		{value("A", `17`, 1), "A/1 INVALID "},
		{value("A", "{\"p\":\"\xff\"}", 1), "A/1 INVALID the value is"},
		{value("A", `"`+strings.Repeat("x", 8<<10)+`"`, 1), "/0 INVALID it is longer than 8192 bytes"},
		{value("A", `null`, 10), "A/10 TAKEN "},
	}
	for _, v := range cases {
		if err := c.Send(v.of); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for _, v := range cases {
		r, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%s/%d %s %s", r.GetTopic(), r.GetVer(), strings.TrimPrefix(r.GetResult().String(), resultPrefix), r.GetError())
		if !strings.HasPrefix(got, v.want) || strings.HasSuffix(v.want, "TAKEN ") && got != v.want {
			t.Errorf("got %s\nwant %s", got, v.want)
		}
	}
	if _, err := c.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the call ended with %v", err)
	}
	if want := []string{`A={"p":1}`, `A={"p":2,"ver":9}`, "A=null"}; !slices.Equal(w.edge.got, want) {
		t.Errorf("%q was published, want %q", w.edge.got, want)
	}
	w.until(func() bool { return w.log.Count(`msg=audit who=bob`) == 1 }, "a line in the audit")
	if w.log.Count(`what="gRPC Publish" code=200`) != 1 || w.log.Count("taken=3 invalid=10") != 1 || w.counted("Publish", 200) != 1 {
		t.Error("the audit or the count is not right")
	}
	if w.log.Count(secret) != 0 || w.log.Count(`"p":1`) != 0 {
		t.Error("a key or a value is in the log")
	}
}

// Every result of the back office has one of gRPC.
func TestResults(t *testing.T) {
	for i, name := range backofficev1.Result_name {
		r := responseOf(&backoffice.Result{Result: strings.ToLower(strings.TrimPrefix(name, resultPrefix))})
		if i != 0 && r.GetResult() != backofficev1.Result(i) {
			t.Errorf("%s became %v", name, r.GetResult())
		}
	}
	w := serve(t, insecure.NewCredentials(), nil)
	c, err := w.plain().Publish(w.bob())
	if err != nil {
		t.Fatal(err)
	}
	for fate, want := range map[broker.Fate]backofficev1.Result{
		broker.Taken: backofficev1.Result_RESULT_TAKEN, broker.Outdated: backofficev1.Result_RESULT_OUTDATED,
		broker.Superseded: backofficev1.Result_RESULT_SUPERSEDED, broker.Flawed: backofficev1.Result_RESULT_INVALID,
		broker.Forbidden: backofficev1.Result_RESULT_DENIED, broker.Unknown: backofficev1.Result_RESULT_WAITING,
	} {
		w.edge.mu.Lock()
		w.edge.fate = fate
		w.edge.mu.Unlock()
		if err := c.Send(value("A", `{}`, 1)); err != nil {
			t.Fatal(err)
		}
		// The answer comes while the client could still send.
		if r, err := c.Recv(); err != nil || r.GetResult() != want {
			t.Errorf("%v: %v %v, want %v", fate, r, err, want)
		}
	}
}

// A call ends when the edge does, and when nothing comes.
func TestPublishEnds(t *testing.T) {
	w := serve(t, insecure.NewCredentials(), nil)
	c, err := w.plain().Publish(w.bob())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(value("A", `{}`, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Recv(); err != nil {
		t.Fatal(err)
	}
	close(w.draining)
	_, err = c.Recv()
	w.says(err, "Unavailable: the edge goes down")

	w = serve(t, insecure.NewCredentials(), nil)
	w.idle = time.Millisecond
	if c, err = w.plain().Publish(w.bob()); err != nil {
		t.Fatal(err)
	}
	_, err = c.Recv()
	w.says(err, "DeadlineExceeded: no value came")
	w.until(func() bool { return w.counted("Publish", 408) == 1 }, "the count")

	if c, err = w.plain().Publish(w.as("authorization", "Bearer "+secret[1:])); err != nil {
		t.Fatal(err)
	}
	_, err = c.Recv()
	w.says(err, "Unauthenticated: ")
}

// Who does not read the answers is read no more, and loses the call in the end: what it holds here has a bound.
func TestPublishToWhoReadsNothing(t *testing.T) {
	w := serve(t, insecure.NewCredentials(), nil)
	w.slow = time.Second
	c, err := w.plain().Publish(w.bob())
	if err != nil {
		t.Fatal(err)
	}
	v := value(strings.Repeat("x", 60), `{}`, 1) // The name comes back.
	const most = 20_000
	sent := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for sent < most && c.Send(v) == nil { // It waits for the edge in the end.
			sent++
		}
	}()
	w.until(func() bool { return w.counted("Publish", 408) == 1 }, "the end of the call")
	for err = nil; err == nil; {
		_, err = c.Recv()
	}
	w.says(err, "DeadlineExceeded: answers were not read")
	<-ended
	if sent == most {
		t.Errorf("all of %d values were taken of who reads no answer", sent)
	}
}
