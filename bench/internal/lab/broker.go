// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Kinds of brokers, as the edge uses them.
const (
	Redis         = "redis"
	NATS          = "nats"          // Core, a subscription for each topic.
	NATSWildcard  = "nats-wildcard" // Core, one subscription for all there is.
	JetStream     = "jetstream"     // A stream in memory, of the newest message of each subject.
	JetStreamFile = "jetstream-file"

	Memory = "memory" // Inside of an edge. There is no [Broker] of it.
)

// BrokerKinds are those that are programs of their own.
var BrokerKinds = []string{Redis, NATS, NATSWildcard, JetStream, JetStreamFile}

const (
	// natsPrefix stands before topics in subjects, as a stream can't have all subjects there are.
	natsPrefix = "md."
	natsStream = "PRICES"
	// natsPatience bounds a question to a NATS.
	natsPatience = 10 * time.Second
)

// Broker is a running broker.
type Broker struct {
	*Proc
	Kind    string
	URL     string // As edges, tickgens and publishers take it.
	monitor string // host:port of a NATS' monitor.
}

// Streams reports whether the broker keeps messages, and gives the newest of a topic alone to who
// is late.
func (b *Broker) Streams() bool { return b.Kind == JetStream || b.Kind == JetStreamFile }

// Broker starts a broker from PATH, which has nothing of a run before.
func (l *Lab) Broker(kind string) (*Broker, error) {
	if kind == Redis {
		p, url, err := l.Redis()
		return &Broker{Proc: p, Kind: kind, URL: url}, err
	}
	if !slices.Contains(BrokerKinds, kind) {
		return nil, fmt.Errorf("lab: there is no broker %q: want one of %s", kind, strings.Join(BrokerKinds, ","))
	}
	b := &Broker{Kind: kind}
	addr, err := l.nats(b)
	if err != nil {
		return nil, err
	}
	query := "?subject=" + natsPrefix + "{topic}"
	switch {
	case b.Streams():
		storage := map[string]string{JetStream: "memory", JetStreamFile: "file"}[kind]
		if err := createStream(addr, storage); err != nil {
			return nil, errors.Join(err, l.Stop(b.Proc))
		}
		query += "&mode=jetstream&stream=" + natsStream
	case kind == NATSWildcard:
		query += "&mode=core&wildcard=true"
	default:
		query += "&mode=core"
	}
	b.URL = "nats://" + addr + query
	return b, nil
}

// nats starts a nats-server and returns the address of its clients.
func (l *Lab) nats(b *Broker) (addr string, err error) {
	path, err := exec.LookPath("nats-server")
	if err != nil {
		return "", errors.New("lab: there is no nats-server in PATH: install one (make deps)")
	}
	if addr, err = freeAddr(); err != nil {
		return "", err
	}
	if b.monitor, err = freeAddr(); err != nil {
		return "", err
	}
	name := "nats-" + strings.ReplaceAll(addr, ":", "-")
	config := fmt.Sprintf("listen: %q\nhttp: %q\n", addr, b.monitor)
	if b.Streams() {
		config += fmt.Sprintf("jetstream { store_dir: %q, max_memory_store: 1GB, max_file_store: 4GB }\n", l.Path(name))
	}
	if err := l.WriteFile(name+".conf", []byte(config)); err != nil {
		return "", err
	}
	b.Proc, err = l.Start(Spec{Name: "nats", Path: path, Args: []string{"-c", l.Path(name + ".conf")}, Ready: dials(addr)})
	return addr, err
}

// createStream makes the stream of the newest messages.
func createStream(addr, storage string) error {
	config := fmt.Sprintf(`{"name":%q,"subjects":[%q],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,`+
		`"max_msgs_per_subject":1,"discard":"old","storage":%q,"num_replicas":1,"allow_direct":true}`, natsStream, natsPrefix+">", storage)
	answer, err := askNATS(addr, "$JS.API.STREAM.CREATE."+natsStream, config)
	var of struct{ Error *struct{ Description string } }
	if err == nil {
		err = json.Unmarshal(answer, &of)
	}
	if err == nil && of.Error != nil {
		err = errors.New(of.Error.Description)
	}
	if err != nil {
		return fmt.Errorf("lab: stream of nats: %w", err)
	}
	return nil
}

// askNATS sends a request and returns the answer.
func askNATS(addr, subject, text string) ([]byte, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(natsPatience)) // Or the read fails.
	const inbox = "_INBOX.lab"
	if _, err := fmt.Fprintf(c, "CONNECT {\"verbose\":false}\r\nSUB %s 1\r\nPUB %s %s %d\r\n%s\r\n", inbox, subject, inbox, len(text), text); err != nil {
		return nil, err
	}
	for in := bufio.NewReader(c); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		var size int
		if strings.HasPrefix(line, "-ERR") {
			return nil, errors.New(strings.TrimSpace(line))
		}
		if n, _ := fmt.Sscanf(line, "MSG "+inbox+" 1 %d", &size); n == 1 && size >= 0 && size < 1<<20 {
			answer := make([]byte, size)
			_, err := io.ReadFull(in, answer)
			return answer, err
		}
	}
}

// Published is how many messages the broker has taken since its start. Of a NATS without a
// stream questions that it was asked are among them.
func (b *Broker) Published() (uint64, error) {
	fail := func(err error) (uint64, error) { return 0, fmt.Errorf("lab: numbers of nats: %w", err) }
	switch {
	case b.Kind == Redis:
		return Published(b.URL)
	case b.Streams():
		text, err := page(b.monitor, "/jsz?acc="+url.QueryEscape("$G")+"&streams=true")
		if err != nil {
			return fail(err)
		}
		return lastSeq(text)
	}
	text, err := page(b.monitor, "/varz")
	if err != nil {
		return fail(err)
	}
	var of struct {
		Messages *uint64 `json:"in_msgs"`
	}
	if err := json.Unmarshal(text, &of); err != nil || of.Messages == nil {
		return fail(fmt.Errorf("no in_msgs in %.100q", text))
	}
	return *of.Messages, nil
}

// lastSeq reads what /jsz says of the stream.
func lastSeq(text []byte) (uint64, error) {
	var of struct {
		Accounts []struct {
			Streams []struct {
				Name  string `json:"name"`
				State struct {
					Last uint64 `json:"last_seq"`
				} `json:"state"`
			} `json:"stream_detail"`
		} `json:"account_details"`
	}
	if err := json.Unmarshal(text, &of); err != nil {
		return 0, fmt.Errorf("lab: numbers of nats: %w", err)
	}
	for _, a := range of.Accounts {
		for _, s := range a.Streams {
			if s.Name == natsStream {
				return s.State.Last, nil
			}
		}
	}
	return 0, fmt.Errorf("lab: numbers of nats: no stream in %.200q", text)
}
