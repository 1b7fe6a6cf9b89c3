//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/lab"
)

// What an attacker has to send against what the edge has to work for it, for each kind of
// thing that may be sent. Two figures count, and both are compared with an ordinary
// command's, which comes in a packet of its own at the rate that is permitted: a subscribe of
// one topic and its unsubscribe, in turn.
//
//   - The CPU for a byte, with as many of the kind as are let through at once, in full
//     packets. Bytes are those of IP packets: 40 more for each of 1,460 or fewer.
//   - The CPU that one conn takes with as many a second as it is let send for ever, each in
//     a packet of its own. Where there is no such limit it is one conn that sends all it can.
const (
	packetHead = 40   // IPv4 and TCP without options.
	segment    = 1460 // Of Ethernet.
	// ordinaryRate is how many ordinary commands a conn may send per second, and the
	// yardstick is measured before each yardstickEvery kinds.
	ordinaryRate   = 20
	yardstickEvery = 4
	// costMax is how many times an ordinary command's a cost may be.
	costMax = 5.0
	// packed is how many conns send at once, and steady how many send at the permitted rate.
	packed, steady = 40, 100
	// leadIn is for what a conn may send at once to be used up, measure for the figure.
	leadIn, measure = 3 * time.Second, 4 * time.Second
	// bigTopics have values of the longest kind.
	bigTopics = 256
)

// ladder is the rates that are tried, per second. The highest at which nothing is refused
// is what one conn is let send. Limits by the second of the clock are 100.
var ladder = []float64{2000, 1000, 500, 200, 95, 50, 20, 15, 10, 7, 5, 4, 3, 2, 1.5, 1, 0.7, 0.5, 0.35, 0.25}

// kind is one kind of thing to send.
type kind struct {
	name  string
	first []byte // Sent once after the handshake, and answered.
	// message is the i-th of a conn, number the conn's.
	message func(number, i int) []byte
	// atOnce is how many are sent in full packets, all of which are let through.
	atOnce int
	// dribble sends each message byte by byte.
	dribble bool
	// once is what a conn sends instead of a WebSocket's handshake, to its end, and then what
	// it sends behind the 101.
	once func(number int) []byte
	then []byte
	// oneSource has all conns come from one address.
	oneSource bool
	// never is said of what has no permitted rate: a conn is closed after some of them.
	never bool
}

// cost is what was found of a kind.
type cost struct {
	kind
	size    float64 // Bytes of one, in full packets.
	each    float64 // Microseconds of one, in full packets.
	perByte float64 // Nanoseconds.
	rate    float64 // Let through per second and conn; infinite for as many as the edge takes, 0 for none.
	core    float64 // Share of a core that one conn takes at that rate.
}

func costKinds() []kind {
	always := func(b []byte) func(int, int) []byte { return func(int, int) []byte { return b } }
	names := func(n int, name func(i int) string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = name(i)
		}
		return `["` + strings.Join(list, `","`) + `"]`
	}
	all := names(universe, topicName)
	short := func(i int) string { return string([]byte{'a' + byte(i/26), 'a' + byte(i%26)}) }
	sub, unsub := message(`{"op":"subscribe","topics":["GEN-000001"]}`), message(`{"op":"unsubscribe","topics":["GEN-000001"]}`)
	fill := func(head, item, tail string) []byte {
		n := (messageMax - len(head) - len(tail)) / len(item)
		return message(head + strings.Repeat(item, n) + tail)
	}
	var keys strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&keys, `,"%x":1`, i)
	}
	inParts := func(text string, size int) (b []byte) {
		for i := 0; i < len(text); i += size {
			b0 := byte(0)
			if i == 0 {
				b0 = 1
			}
			if i+size >= len(text) {
				b0 |= fin
			}
			b = append(b, frame(b0, text[i:min(len(text), i+size)])...)
		}
		return b
	}
	empty := append(frame(1, ""), slices.Repeat(frame(0, ""), fragmentsMax-2)...)
	empty = append(empty, frame(fin, `{"op":"ping"}`)...)
	return []kind{
		{name: "ordinary commands, many in a packet", atOnce: 36, message: func(_, i int) []byte {
			if i%2 == 0 {
				return sub
			}
			return unsub
		}},
		{name: "ping command", atOnce: 36, message: always(message(`{"op":"ping"}`))},
		{name: "interval to and fro", atOnce: 36, message: func(_, i int) []byte {
			return message(fmt.Sprintf(`{"op":"interval","ms":%d}`, 100+i%2*59000))
		}},
		{name: "list of 256 topics", first: message(`{"op":"subscribe","topics":` + all + `}`), atOnce: 3, message: always(message(`{"op":"list"}`))},
		{name: "subscribe 256 topics it has", first: message(`{"op":"subscribe","topics":` + all + `}`), atOnce: 2, message: always(message(`{"op":"subscribe","topics":` + all + `}`))},
		{name: "subscribe 256 topics, unsubscribe them", atOnce: 1, message: func(_, i int) []byte {
			if i%2 == 0 {
				return message(`{"op":"subscribe","topics":` + all + `}`)
			}
			return message(`{"op":"unsubscribe","topics":` + all + `}`)
		}},
		{name: "subscribe 256 topics more than it may have", first: message(`{"op":"subscribe","topics":` + all + `}`), atOnce: 1,
			message: always(message(`{"op":"subscribe","topics":` + names(256, short) + `}`))},
		{name: "subscribe 256 bad names", atOnce: 2, message: always(message(`{"op":"subscribe","topics":` + names(256, func(int) string { return "" }) + `}`))},
		{name: "unsubscribe 256 unknown names", atOnce: 2, message: always(message(`{"op":"unsubscribe","topics":` + names(256, short) + `}`))},
		{name: "subscribe a new name", atOnce: 20, message: func(number, i int) []byte {
			return message(fmt.Sprintf(`{"op":"subscribe","topics":["%x.%x"]}`, number, i))
		}},
		{name: "subscribe 16 new names", atOnce: 6, message: func(number, i int) []byte {
			return message(`{"op":"subscribe","topics":` + names(16, func(k int) string { return fmt.Sprintf("%x.%x.%x", number, i, k) }) + `}`)
		}},
		{name: "auth, where no token is asked for", atOnce: 1, message: always(message(`{"op":"auth","token":"x"}`))},
		{name: "20 KiB of legal command: a list of digits", atOnce: 2, message: always(fill(`{"op":"ping","x":[0`, ",1", "]}"))},
		{name: "malformed: 16 KiB of 2,000 keys", atOnce: 2, never: true, message: always(message(`{"op":"ping"` + keys.String() + "}"))},
		{name: "20 KiB of legal command: escapes", atOnce: 2, message: always(fill(`{"op":"ping","x":"`, `\u00e9`, `"}`))},
		{name: "20 KiB of garbage", atOnce: 2, never: true, message: always(fill(`[0`, ",1", ""))},
		{name: "malformed: an empty message", atOnce: 14, never: true, message: always(message(""))},
		{name: "ping frame", atOnce: 90, message: always(ping(""))},
		{name: "ping frame of 125 bytes", atOnce: 90, message: always(ping(strings.Repeat("p", 125)))},
		{name: "pong frame that nobody asked for", atOnce: 90, message: always(frame(fin|0xa, ""))},
		{name: "pong frame, byte by byte", atOnce: 10, dribble: true, message: always(frame(fin|0xa, ""))},
		{name: "command in fragments of 1 byte", atOnce: 2, message: always(inParts(`{"op":"ping"}`, 1))},
		{name: "command in 256 fragments, empty but for the last", atOnce: 1, message: always(empty)},
		{name: "command byte by byte", atOnce: 2, dribble: true, message: always(message(`{"op":"ping"}`))},
		{name: "command of 240 bytes byte by byte", atOnce: 1, dribble: true, message: always(message(fmt.Sprintf("%-240s", `{"op":"ping"}`)))},
		{name: "snapshots of 1 MB: subscribe 256 large topics", atOnce: 1, message: func(_, i int) []byte {
			op := "subscribe"
			if i%2 == 1 {
				op = "unsubscribe"
			}
			return message(`{"op":"` + op + `","topics":` + names(bigTopics, bigName) + `}`)
		}},
		{name: "request: reconnect", once: func(int) []byte { return []byte(goodRequest("")) }},
		{name: "request: reconnect for 256 large topics, a snapshot of 1 MB", oneSource: true, once: func(int) []byte { return []byte(goodRequest("")) },
			then: message(`{"op":"subscribe","topics":` + names(bigTopics, bigName) + `}`)},
		{name: "request: byte by byte", dribble: true, once: func(int) []byte { return []byte(goodRequest("")) }},
		{name: "request: reconnect with 30 topics", once: func(int) []byte {
			list := strings.Trim(strings.ReplaceAll(names(30, topicName), `"`, ""), "[]")
			return []byte(goodRequest("?topics=" + list))
		}},
		{name: "request: 404", once: func(int) []byte { return []byte("GET /x HTTP/1.1\r\nHost: a\r\n\r\n") }},
		{name: "request: the page", once: func(int) []byte { return []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n") }},
		{name: "request: 400 after 8 KiB of head", once: func(int) []byte {
			return []byte("GET /ws HTTP/1.1\r\n" + strings.Repeat("a: b\r\n", 99) + "Host: " + strings.Repeat("a", 7500) + "\r\n\r\n")
		}},
	}
}

// tokenKinds are for an edge that asks for tokens.
func (t *tokens) kinds() []kind {
	auth := func(token string) func(int, int) []byte {
		return func(int, int) []byte { return message(`{"op":"auth","token":"` + token + `"}`) }
	}
	request := func(token string) func(int) []byte {
		return func(int) []byte { return []byte(goodRequest("?token=" + token)) }
	}
	return []kind{
		{name: "auth, ES256", atOnce: 1, message: auth(t.good)},
		{name: "auth, wrong signature of ES512", atOnce: 1, message: auth(t.wrong512)},
		{name: "request: wrong signature of ES256", once: request(t.wrong256)},
		{name: "request: wrong signature of ES512", once: request(t.wrong512)},
	}
}

// tokens are of a key that is quick to verify and of the one that takes longest.
type tokens struct {
	keys                     []byte // PEM.
	good, wrong256, wrong512 string
}

func newTokens() (*tokens, error) {
	t := &tokens{}
	sign := func(curve elliptic.Curve, alg string, hash func([]byte) []byte) (good, wrong string, err error) {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return "", "", err
		}
		public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			return "", "", err
		}
		t.keys = append(t.keys, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})...)
		part := base64.RawURLEncoding.EncodeToString
		signed := part([]byte(`{"alg":"`+alg+`"}`)) + "." + part([]byte(`{"sub":"costs","exp":4102444800}`))
		r, s, err := ecdsa.Sign(rand.Reader, key, hash([]byte(signed)))
		if err != nil {
			return "", "", err
		}
		size := (curve.Params().BitSize + 7) / 8
		signature := append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		good = signed + "." + part(signature)
		signature[size/2] ^= 1
		return good, signed + "." + part(signature), nil
	}
	var err, err2 error
	t.good, t.wrong256, err = sign(elliptic.P256(), "ES256", func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] })
	_, t.wrong512, err2 = sign(elliptic.P521(), "ES512", func(b []byte) []byte { sum := sha512.Sum512(b); return sum[:] })
	return t, errors.Join(err, err2)
}

func bigName(i int) string { return fmt.Sprintf("BIG-%06d", i) }

// costs measures all kinds at one edge and writes the table. It reports whether all costs
// are as they should be.
func (p *plan) costs(ctx context.Context, out, log io.Writer) (good bool, err error) {
	l, err := lab.New(ctx, "", map[string]string{"costs": "true"})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if p.edgeBinary != "" {
		l.Use("cmd/edge", p.edgeBinary)
	}
	_, redis, err := l.Redis()
	if err != nil {
		return false, err
	}
	if err := setValues(redis); err != nil {
		return false, err
	}
	var all []cost
	var yardsticks []float64 // How a busy host is at a moment moves it most, so it is measured in between.
	measure := func(query string, kinds []kind, args ...string) error {
		server, err := l.Edge(redis, 1, append(args, "-page", "-max-topics-total", "2000000")...)
		if err != nil {
			return err
		}
		m := &costMeter{edge: &edge{lab: l, server: server, addr: server.Addr, ctx: ctx}, query: query}
		if err := m.holdAll(); err != nil {
			return err
		}
		for i, k := range kinds {
			if i%yardstickEvery == 0 {
				ordinary := costKinds()[0]
				core, err := m.steady(&ordinary, ordinaryRate)
				if err != nil {
					return err
				}
				yardsticks = append(yardsticks, core)
			}
			if !strings.Contains(k.name, p.only) && len(all) > 0 {
				continue
			}
			c, err := m.cost(k)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			fmt.Fprintf(log, "%-62s %8.1f µs %8.1f ns/byte  %8.4g/s %8.3f %% of a core\n", k.name, c.each, c.perByte, c.rate, 100*c.core)
			all = append(all, c)
		}
		return l.StopServer(server)
	}
	if err := measure("", costKinds()); err != nil {
		return false, err
	}
	t, err := newTokens()
	if err != nil {
		return false, err
	}
	if err := l.WriteFile("keys.pem", t.keys); err != nil {
		return false, err
	}
	if err := measure("?token="+t.good, t.kinds(), "-jwt-key-file", l.Path("keys.pem")); err != nil {
		return false, err
	}
	all[0].core, all[0].rate = median(yardsticks), ordinaryRate
	fmt.Fprintf(log, "an ordinary command's share of a core, each time: %.3f %%\n", scaled(yardsticks, 100))
	return costTable(out, all), l.Failed()
}

func scaled(of []float64, by float64) []float64 {
	of = slices.Clone(of)
	for i := range of {
		of[i] *= by
	}
	return of
}

// costTable writes the costs and compares them with the first.
func costTable(out io.Writer, all []cost) (good bool) {
	good = true
	unit := all[0]
	alone := unit.core / unit.rate * 1e9 / onWire(len(unit.message(0, 0)))
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| what is sent\t| bytes\t| µs each\t| ns per byte\t| × ordinary\t| one conn may, per second\t| % of a core\t| × ordinary\t|")
	fmt.Fprintln(t, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	times := func(x float64) string {
		if x > costMax {
			good = false
			return fmt.Sprintf("**%.1f**", x)
		}
		return fmt.Sprintf("%.1f", x)
	}
	yardstick := unit
	yardstick.name, yardstick.size = "**an ordinary command**: subscribe one topic, unsubscribe it, each in its packet", onWire(len(unit.message(0, 0)))
	yardstick.each, yardstick.perByte = unit.core/unit.rate*1e6, alone
	for _, c := range append([]cost{yardstick}, all...) {
		rate, core, ratio := "any number", fmt.Sprintf("%.3f", 100*c.core), times(c.core/unit.core)
		switch {
		case c.once != nil || c.never:
			rate, core, ratio = "—", "—", "—"
		case !math.IsInf(c.rate, 1):
			rate = fmt.Sprintf("%.3g", c.rate)
		}
		fmt.Fprintf(t, "| %s\t| %.0f\t| %.1f\t| %.0f\t| %s\t| %s\t| %s\t| %s\t|\n", c.name, c.size, c.each, c.perByte, times(c.perByte/alone), rate, core, ratio)
	}
	_ = t.Flush()
	return good
}

// setValues gives the topics values that the edge can fetch.
func setValues(redis string) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(redis, "redis://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	var b bytes.Buffer
	for i := range universe {
		fmt.Fprintf(&b, "SET price:%s %d\r\n", topicName(i), i)
		fmt.Fprintf(&b, "SET price:%s \"\\\"%s\\\"\"\r\n", bigName(i), strings.Repeat("v", 4000))
	}
	b.WriteString("QUIT\r\n")
	if _, err := conn.Write(b.Bytes()); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && bytes.Count(answer, []byte("+OK")) != 2*universe+1 {
		err = fmt.Errorf("redis answers %.100q", answer)
	}
	return err
}

// costMeter measures one edge.
type costMeter struct {
	edge  *edge
	query string       // Of each handshake.
	next  atomic.Int64 // Of the numbers of conns.
}

// payer is a conn that sends and throws away what comes.
type payer struct {
	*net.TCPConn
	number  int
	sent    int
	marks   chan struct{} // An element for each answer to alive.
	refused atomic.Bool   // Something was, or the conn has ended.
	ended   chan struct{}
}

// dial comes from an address of its own, so that limits by source do not add up.
func (m *costMeter) dial(number int) (*net.TCPConn, error) {
	d := net.Dialer{
		Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 3, byte(number>>8), byte(number))},
		Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			})
		},
	}
	c, err := d.Dial("tcp", m.edge.addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (m *costMeter) open() (*payer, error) {
	number := int(m.next.Add(1))
	c, err := m.dial(1 + number%60_000)
	if err != nil {
		return nil, err
	}
	p := &peer{TCPConn: c}
	_ = p.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(p, goodRequest(m.query))
	if err == nil {
		var status int
		if status, err = p.head(); err == nil && status != 101 {
			err = fmt.Errorf("HTTP %d", status)
		}
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	_ = p.SetDeadline(time.Time{})
	a := &payer{TCPConn: c, number: number, marks: make(chan struct{}, 1<<16), ended: make(chan struct{})}
	go a.listen()
	return a, nil
}

var (
	tooFast = []byte(`"code":429`)
	marked  = []byte(`"id":"` + aliveID + `"`)
)

// listen reads to the end. Answers are found by their text: nothing of it is in a value.
func (a *payer) listen() {
	defer close(a.ended)
	defer a.refused.Store(true)
	buf, kept := make([]byte, 256<<10), 0
	for {
		n, err := a.Read(buf[kept:])
		if err != nil {
			return
		}
		all := buf[:kept+n]
		if bytes.Contains(all, tooFast) {
			a.refused.Store(true)
		}
		for range bytes.Count(all, marked) {
			a.marks <- struct{}{}
		}
		// An answer may be cut, and none is found twice.
		tail := all[max(0, len(all)-len(marked)+1):]
		if i := bytes.LastIndex(all, marked); i >= 0 {
			tail = all[max(i+len(marked), len(all)-len(marked)+1):]
		}
		kept = copy(buf, tail)
	}
}

// await waits for the answer to alive, which was sent behind all else.
func (a *payer) await() error {
	select {
	case <-a.marks:
		return nil
	case <-a.ended:
		return errors.New("the edge has closed the conn")
	case <-time.After(patience):
		return errors.New("no answer")
	}
}

// ready opens a conn and sends what comes first.
func (m *costMeter) ready(k *kind) (*payer, error) {
	a, err := m.open()
	if err != nil {
		return nil, err
	}
	if _, err := a.Write(append(slices.Clone(k.first), alive...)); err != nil {
		return nil, err
	}
	if err := a.await(); err != nil {
		return nil, err
	}
	return a, nil
}

func (m *costMeter) readyAll(k *kind, n int) ([]*payer, error) {
	var all []*payer
	for range n {
		a, err := m.ready(k)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

func closeAll(all []*payer) {
	for _, a := range all {
		_ = a.SetLinger(0)
		_ = a.Close()
		<-a.ended
	}
}

// holdAll keeps the topics with values in the edge's table.
func (m *costMeter) holdAll() error {
	for _, name := range []func(int) string{topicName, bigName} {
		list := make([]string, universe)
		for i := range list {
			list[i] = name(i)
		}
		if _, err := m.ready(&kind{first: subscribe(list)}); err != nil {
			return err // The others stay until the edge ends.
		}
	}
	m.pause(2 * time.Second) // They are fetched meanwhile.
	return nil
}

// pause waits while the edge does what it does by itself.
func (m *costMeter) pause(d time.Duration) {
	select {
	case <-m.edge.ctx.Done():
	case <-time.After(d):
	}
}

// cpu is what the edge has used so far, in seconds.
func (m *costMeter) cpu() (float64, error) {
	d, err := m.edge.server.CPU()
	return d.Seconds(), err
}

// idle is what the edge uses by itself with the conns that are there, in cores.
func (m *costMeter) idle(d time.Duration) (float64, error) {
	before, err := m.cpu()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	m.pause(d)
	after, err := m.cpu()
	return (after - before) / time.Since(begin).Seconds(), err
}

func (m *costMeter) cost(k kind) (c cost, err error) {
	c.kind = k
	if k.once != nil {
		return c, m.requests(&c)
	}
	if err := m.packed(&c); err != nil {
		return c, fmt.Errorf("at once: %w", err)
	}
	if k.never {
		return c, nil
	}
	if c.rate, err = m.permitted(&k); err != nil {
		return c, err
	}
	if math.IsInf(c.rate, 1) {
		c.core, err = m.flooded(&k)
	} else if c.rate > 0 {
		c.core, err = m.steady(&k, c.rate)
		c.core = max(c.core, c.rate*c.each/1e6) // Below the noise of the measurement.
	}
	return c, err
}

// onWire is how many bytes of IP packets n bytes are that are sent at once.
func onWire(n int) float64 {
	return float64(n) + packetHead*math.Ceil(float64(n)/segment)
}

// packed measures many conns that each send as many as are let through at once.
func (m *costMeter) packed(c *cost) error {
	const rounds = 3
	var figures []float64
	for range rounds {
		with, size, err := m.burst(&c.kind, c.atOnce)
		if err != nil {
			return err
		}
		without, _, err := m.burst(&c.kind, 0)
		if err != nil {
			return err
		}
		n := float64(packed * c.atOnce)
		figures = append(figures, (with-without)/n*1e6)
		c.size = size / n
	}
	c.each = max(0, median(figures))
	c.perByte = c.each * 1e3 / c.size
	return nil
}

// burst has conns send n messages each and a sign of life, and returns the CPU and the
// bytes of the messages.
func (m *costMeter) burst(k *kind, n int) (cpu, size float64, err error) {
	all, err := m.readyAll(k, packed)
	if err != nil {
		return 0, 0, err
	}
	defer closeAll(all)
	m.pause(300 * time.Millisecond) // Of the snapshots of what came first.
	rest, err := m.idle(300 * time.Millisecond)
	if err != nil {
		return 0, 0, err
	}
	before, err := m.cpu()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	for _, a := range all {
		sent, err := a.send(k, n, alive)
		if err != nil {
			return 0, 0, err
		}
		size += sent
		if err := a.await(); err != nil {
			return 0, 0, err
		}
	}
	if strings.Contains(k.name, "new name") {
		m.pause(500 * time.Millisecond) // The feed has its part in it.
	}
	after, err := m.cpu()
	return after - before - rest*time.Since(begin).Seconds(), size, err
}

// send sends the next n messages and what is to follow them, in as few packets as it can,
// and returns the bytes of the messages.
func (a *payer) send(k *kind, n int, behind []byte) (size float64, err error) {
	var b []byte
	for range n {
		one := k.message(a.number, a.sent)
		a.sent++
		if !k.dribble {
			b = append(b, one...)
			continue
		}
		for i := range one {
			if _, err := a.Write(one[i : i+1]); err != nil {
				return size, err
			}
			size += packetHead + 1
			if i%2 == 0 { // So that the edge comes to read in between.
				time.Sleep(20 * time.Microsecond)
			}
		}
	}
	if !k.dribble {
		size = onWire(len(b))
	}
	_, err = a.Write(append(b, behind...))
	return size, err
}

// permitted is the rate at which one conn may send for as long as it likes.
func (m *costMeter) permitted(k *kind) (rate float64, err error) {
	one, err := m.ready(k)
	if err != nil {
		return 0, err
	}
	until := time.Now().Add(time.Second)
	for time.Now().Before(until) && !one.refused.Load() && m.edge.ctx.Err() == nil {
		if _, err := one.send(k, 8, nil); err != nil {
			break
		}
	}
	m.pause(300 * time.Millisecond)
	free := !one.refused.Load()
	closeAll([]*payer{one})
	if free {
		return math.Inf(1), nil
	}
	all, err := m.readyAll(k, len(ladder))
	if err != nil {
		return 0, err
	}
	defer closeAll(all)
	m.at(all, k, func(i int) float64 { return ladder[i] }, leadIn+measure)
	m.pause(2 * time.Second) // The edge may be behind with its answers.
	for i, a := range all {
		if !a.refused.Load() {
			return ladder[i], nil
		}
	}
	return 0, nil
}

// at has each conn send at its rate for a time, evenly.
func (m *costMeter) at(all []*payer, k *kind, rate func(i int) float64, d time.Duration) {
	var going sync.WaitGroup
	end := time.Now().Add(d)
	for i, a := range all {
		going.Go(func() {
			every := time.Duration(float64(time.Second) / rate(i))
			next := time.Now().Add(every * time.Duration(i) / time.Duration(len(all)))
			for next.Before(end) && !a.refused.Load() && m.edge.ctx.Err() == nil {
				m.pause(time.Until(next))
				if _, err := a.send(k, 1, nil); err != nil {
					return
				}
				next = next.Add(every)
			}
		})
	}
	going.Wait()
}

// steady is the share of a core that one of many conns takes at a rate.
func (m *costMeter) steady(k *kind, rate float64) (float64, error) {
	all, err := m.readyAll(k, steady)
	if err != nil {
		return 0, err
	}
	defer closeAll(all)
	m.pause(500 * time.Millisecond)
	rest, err := m.idle(2 * time.Second)
	if err != nil {
		return 0, err
	}
	var before, after float64
	var begin time.Time
	var took time.Duration
	done := make(chan error, 1)
	go func() {
		m.pause(leadIn / 3)
		var err error
		before, err = m.cpu()
		begin = time.Now()
		m.pause(measure)
		var err2 error
		after, err2 = m.cpu()
		took = time.Since(begin)
		done <- errors.Join(err, err2)
	}()
	m.at(all, k, func(int) float64 { return rate }, leadIn/3+measure+time.Second/2)
	err = <-done
	return ((after-before)/took.Seconds() - rest) / float64(len(all)), err
}

// flooded is the share of a core that one conn takes that sends all it can.
func (m *costMeter) flooded(k *kind) (float64, error) {
	rest, err := m.idle(time.Second)
	if err != nil {
		return 0, err
	}
	one, err := m.ready(k)
	if err != nil {
		return 0, err
	}
	defer closeAll([]*payer{one})
	before, err := m.cpu()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	for time.Since(begin) < measure && m.edge.ctx.Err() == nil {
		if _, err := one.send(k, 64, nil); err != nil {
			return 0, err
		}
	}
	after, err := m.cpu()
	return (after-before)/time.Since(begin).Seconds() - rest, err
}

// requests measures conns that send one request each and end.
func (m *costMeter) requests(c *cost) error {
	n, atOnce := 2000, 8
	if c.dribble {
		n = 200
	}
	rest, err := m.idle(time.Second)
	if err != nil {
		return err
	}
	before, err := m.cpu()
	if err != nil {
		return err
	}
	begin := time.Now()
	what := crowd(n, atOnce, func(i int) string {
		from := 1 + i%1000
		if c.oneSource {
			from = 1001
		}
		conn, err := m.dial(from)
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		b := c.once(i)
		if c.dribble {
			for i := range b {
				_, _ = conn.Write(b[i : i+1])
				if i%2 == 0 {
					time.Sleep(20 * time.Microsecond)
				}
			}
		} else {
			_, _ = conn.Write(b)
		}
		p := &peer{TCPConn: conn}
		status, err := p.head()
		if err != nil {
			return err.Error()
		}
		if status == 101 {
			_, _ = conn.Write(append(slices.Clone(c.then), closing(1000, "")...))
		}
		return cmp.Or(strings.TrimPrefix(p.end(), "ended"), "done")
	})
	after, err := m.cpu()
	if err != nil {
		return err
	}
	if what != fmt.Sprintf("%d × done", n) {
		return errors.New(what)
	}
	c.each = (after - before - rest*time.Since(begin).Seconds()) / float64(n) * 1e6
	// And the SYN, two acknowledgements and the FIN of the client.
	c.size = onWire(len(c.once(0))) + 4*packetHead + onWire(len(c.then)+len(closing(1000, "")))
	if c.dribble {
		c.size += packetHead * float64(len(c.once(0))-1)
	}
	c.perByte = c.each * 1e3 / c.size
	return nil
}
