// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"

	"tickedge/internal/backoffice"
	"tickedge/internal/broker"
	"tickedge/internal/logtest"
)

// controls are edges on one broker, which takes only versions that rise, as a real one does.
type controls struct {
	mu     sync.Mutex
	ver    int64
	away   bool
	values []string
	edges  []*control
	did    [][]string // By each edge: users.
}

func newControls(t *testing.T, n int) *controls {
	cs := &controls{did: make([][]string, n)}
	log, _ := logtest.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for i := range n {
		c := newControl(log, time.Now())
		c.publish = cs.publish
		c.do = func(_ context.Context, cmd *command) { cs.did[i] = append(cs.did[i], cmd.User) }
		cs.edges = append(cs.edges, c)
		go c.listen(ctx)
		go c.speak(ctx)
	}
	return cs
}

func (cs *controls) publish(t broker.Tick, done func(broker.Fate)) error {
	if err := broker.CheckTick(t); err != nil {
		return err
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	switch {
	case cs.away:
		return broker.ErrQueueFull
	case t.Ver <= cs.ver:
		done(broker.Outdated)
		return nil
	}
	cs.ver = t.Ver
	cs.values = append(cs.values, string(t.Value))
	for _, c := range cs.edges {
		c.hear(string(t.Value))
	}
	done(broker.Taken)
	return nil
}

func disconnect(user string) command {
	return command{Do: doDisconnect, User: user, Code: 4505, Reason: "out"}
}

func (cs *controls) tell(t *testing.T, edge int, user string) <-chan struct{} {
	t.Helper()
	told, err := cs.edges[edge].tell(disconnect(user), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// What one edge was asked the others do, once each, however many values have it, and of whatever two write at a time.
func TestEdgesTellEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := newControls(t, 3)
		var want0, want2 []string
		for i := range 100 {
			a, b := fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)
			cs.tell(t, 0, a)
			cs.tell(t, 1, b)
			want0, want2 = append(want0, b), append(want2, a, b)
		}
		time.Sleep(commandAge / 2)
		synctest.Wait()
		slices.Sort(want0)
		slices.Sort(want2)
		slices.Sort(cs.did[0])
		slices.Sort(cs.did[2])
		if !slices.Equal(cs.did[0], want0) || !slices.Equal(cs.did[2], want2) {
			t.Errorf("%q\n%q", cs.did[0], cs.did[2])
		}
		for _, value := range cs.values {
			var v controlValue
			if err := json.Unmarshal([]byte(value), &v); err != nil || len(v.Commands) > commandsMost || len(value) > broker.ValueMax {
				t.Fatalf("%s: %v", value, err)
			}
		}
	})
}

// Who missed a value has its commands from the next, also from that of another edge which had written at the same time.
func TestMissedValuesAreToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := newControls(t, 3)
		deaf := cs.edges[2]
		cs.edges = cs.edges[:2]
		cs.tell(t, 0, "a")
		time.Sleep(time.Second)
		synctest.Wait()
		cs.edges = append(cs.edges, deaf)
		cs.tell(t, 1, "b")
		time.Sleep(time.Second)
		synctest.Wait()
		if slices.Sort(cs.did[2]); !slices.Equal(cs.did[2], []string{"a", "b"}) {
			t.Errorf("did %q", cs.did[2])
		}
		// A value without ours, and above it: ours is written once more.
		cs.tell(t, 0, "c")
		time.Sleep(time.Second)
		synctest.Wait()
		before := len(cs.values)
		ver := time.Now().UnixMicro()
		_ = cs.publish(broker.Tick{Topic: controlTopic, Value: fmt.Appendf(nil, `{"commands":[],"ver":%d}`, ver), Ver: ver}, func(broker.Fate) {})
		time.Sleep(time.Second)
		synctest.Wait()
		if all := strings.Join(cs.values[before+1:], "\n"); !strings.Contains(all, `"user":"c"`) {
			t.Errorf("%s", all)
		}
	})
}

// A command is done once, and only while it is new, not of before the edge was there, and valid.
func TestCommandsThatAreNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := logtest.New(t)
		c := newControl(log, time.Now().Add(-20*time.Second))
		now := time.Now().UnixMilli()
		do := func(id string, at int64, member string) string {
			return fmt.Sprintf(`{"id":%q,"at":%d,"do":"disconnect","user":"u",%s}`, id, at, member)
		}
		const id, good = "0123456789abcdef", `"code":4505,"reason":""`
		value := func(list ...string) string { return `{"commands":[` + strings.Join(list, ",") + `],"ver":1}` }
		for name, v := range map[string]string{
			"no JSON": "{", "null": "null", "old": value(do(id, now-31_000, good)), "before the start": value(do(id, now-21_000, good)),
			"of a clock that is ahead": value(do(id, now+31_000, good)), "id": value(do("x", now, good)), "code": value(do(id, now, `"code":1000`)),
			"reason": value(do(id, now, `"code":4505,"reason":"`+strings.Repeat("x", 101)+`"`)), "retry": value(do(id, now, `"code":4505,"retry_ms":-1`)),
			"user": strings.Replace(value(do(id, now, good)), `"u"`, `""`, 1), "do": strings.Replace(value(do(id, now, good)), "disconnect", "x", 1),
			"many": value(slices.Repeat([]string{do(id, now, good)}, commandsMost+1)...),
		} {
			if todo := c.take(v, time.Now()); len(todo) > 0 {
				t.Errorf("%s: %+v", name, todo)
			}
		}
		for i, n := range []int{1, 0, 0} {
			if todo := c.take(value(do(id, now, good), do(id, now, good)), time.Now()); len(todo) != n {
				t.Errorf("time %d: %+v", i, todo)
			}
		}
		for i := range 3 * idsMost {
			c.take(value(do(fmt.Sprintf("%016x", i), now, good)), time.Now())
		}
		if len(c.ids) != idsMost || len(c.last) != idsMost || len(c.others) > 2*commandsMost {
			t.Errorf("holds %d, %d, %d", len(c.ids), len(c.last), len(c.others))
		}
		for range 2 * heardMost {
			c.hear("x")
		}
		if n := c.dropped.Load(); n != heardMost {
			t.Errorf("%d were dropped", n)
		}
	})
}

// While the broker is away commands wait, until they are old; told says when it has them.
func TestCommandsWaitForTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cs := newControls(t, 2)
		cs.away = true
		old := cs.tell(t, 0, "old")
		time.Sleep(commandAge)
		told := cs.tell(t, 0, "a")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		cs.mu.Lock()
		cs.away = false
		cs.mu.Unlock()
		select {
		case <-told:
		case <-old:
			t.Error("an old command was told")
		}
		synctest.Wait()
		if !slices.Equal(cs.did[1], []string{"a"}) {
			t.Errorf("did %q", cs.did[1])
		}
		cs.edges[0].mu.Lock()
		for range pendingMost {
			cs.edges[0].pending = append(cs.edges[0].pending, &own{command: command{At: time.Now().UnixMilli()}})
		}
		cs.edges[0].mu.Unlock()
		if _, err := cs.edges[0].tell(disconnect("b"), time.Now()); err == nil {
			t.Error("as many wait as may, and one more is taken")
		}
	})
}

// The longest command there is fits in a value: one that never did would never be told.
func TestTheLongestCommandFits(t *testing.T) {
	log, _ := logtest.New(t)
	c := newControl(log, time.Now())
	user := strings.Repeat("\x01", backoffice.UserMax)
	for _, cmd := range []command{
		{Do: doAnnounce, User: user, Text: strings.Repeat("\n", backoffice.TextMax)}, {Do: doAnnounce, Text: strings.Repeat("\"", backoffice.TextMax)},
		{Do: doDisconnect, User: user, Code: 4505, Reason: strings.Repeat("\x01", 100), Retry: 3_600_000},
	} {
		now := time.Now()
		if _, err := c.tell(cmd, now); err != nil {
			t.Fatal(err)
		}
		value, has, _, _ := c.next(now)
		if len(has) != 1 || len(value) > broker.ValueMax || !has[0].valid() {
			t.Errorf("%d in a value of %d bytes", len(has), len(value))
		}
		c.pending = nil
	}
}

// A value has what waits to be told, and behind it what other edges and this one have told in the last 30 s. Its version is
// above all that were heard.
func TestAValueHasWhatMayBeMissed(t *testing.T) {
	log, _ := logtest.New(t)
	now := time.Now()
	c := newControl(log, now.Add(-time.Hour))
	ahead := now.Add(time.Hour).UnixMicro()
	c.take(fmt.Sprintf(`{"commands":[{"id":"0123456789abcdef","at":%d,"do":"announce","text":"other"}],"ver":%d}`, now.UnixMilli(), ahead), now)
	next := func(text string, at time.Time) (texts []string) {
		t.Helper()
		if _, err := c.tell(command{Do: doAnnounce, Text: text}, at); err != nil {
			t.Fatal(err)
		}
		value, has, ver, _ := c.next(at)
		var v controlValue
		if err := json.Unmarshal(value, &v); err != nil || v.Ver != ver || ver <= ahead {
			t.Fatalf("%s: %v", value, err)
		}
		for _, cmd := range v.Commands {
			texts = append(texts, cmd.Text)
		}
		c.took(has, ver)
		return texts
	}
	for _, step := range []struct {
		text  string
		after time.Duration
		want  []string
	}{
		{"1", 0, []string{"1", "other"}},
		{"2", 20 * time.Second, []string{"2", "other", "1"}},
		{"3", 31 * time.Second, []string{"3", "2"}},
	} {
		if got := next(step.text, now.Add(step.after)); !slices.Equal(got, step.want) {
			t.Errorf("after %v: %q, want %q", step.after, got, step.want)
		}
	}
}

// Edges with -tick-version-field take what others tell, though it has another member; what they would not take of a caller
// is refused.
func TestNumberedByAnotherMember(t *testing.T) {
	for _, field := range []string{"", "ver", "seq", "meta.ver", "a.b.c"} {
		logger, _ := logtest.New(t)
		from, to := newControl(logger, time.Now()), newControl(logger, time.Now().Add(-time.Second))
		from.field = field
		if _, err := from.tell(command{Do: doAnnounce, Text: "hello"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		value, _, ver, _ := from.next(time.Now())
		for _, member := range []string{field, broker.VersionMember} {
			if member == "" {
				continue
			}
			if v, flaw := broker.InspectVersion(string(value), member); flaw != broker.Flawless || v.Whole != ver {
				t.Errorf("%s: %s has the version %v, %v", member, value, v, flaw)
			}
		}
		if todo := to.take(string(value), time.Now()); len(todo) != 1 || todo[0].Text != "hello" {
			t.Errorf("%s: of %s is done %v", field, value, todo)
		}
	}
	for value, field := range map[string]string{`{"p":1}`: "", `{"p":1,"seq":1}`: "seq", "null": "seq", `{"tombstone":true,"ver":1}`: "seq"} {
		if err := checkNumbered([]byte(value), field); err != nil {
			t.Errorf("%s, %q: %v", value, field, err)
		}
	}
	if checkNumbered([]byte(`{"p":1,"ver":1}`), "seq") == nil {
		t.Error("a value that no edge takes is published")
	}
}
