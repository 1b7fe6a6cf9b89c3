// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

// stream is a connection that has what a server says.
type stream struct {
	net.Conn
	io.Reader
	wrote bytes.Buffer
}

func (s *stream) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.wrote.Write(p) }

// tapped reads a stream to its end, and returns what was taken, what nats.go got, and why it ended.
func tapped(r io.Reader, each int) (taken []string, passed string, err error) {
	var out strings.Builder
	t := newTap(&stream{Reader: r})
	t.deliver(func(m *wireMessage) {
		taken = append(taken, fmt.Sprintf("%d %s %s %q %.20q %d", m.sub, m.subject, m.reply, m.header, m.payload, m.size))
		fmt.Fprintf(&out, "<%d>", m.sub)
	})
	for p := make([]byte, each); ; {
		n, err := t.Read(p)
		out.Write(p[:n])
		if err != nil {
			return taken, out.String(), err
		}
	}
}

// However the stream is cut, own messages are taken in their places and the rest goes on as it is.
func TestTap(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	text := "INFO {\"a\":1}\r\nPING\r\n" +
		"MSG md.A t0 3\r\nabc\r\nMSG md.B t12 _INBOX.r 0\r\n\r\nHMSG md.A t7 12 14\r\nNATS/1.0\r\n\r\nhi\r\n" +
		"MSG other 1 9\r\nMSG A t0 \r\nHMSG x 12 r 12 14\r\nNATS/1.0\r\n\r\nho\r\n+OK\r\n" +
		"MSG md.C t3 200000\r\n" + long + "\r\nHMSG md.D t4 100000 200000\r\n" + long + "\r\n-ERR 'x'\r\nMSG md.A t0 1\r\nz\r\nPONG\r\n" +
		"MSG big 2 200000\r\n" + long + "\r\nPONG\r\n"
	wantTaken := []string{`0 md.A  "" "abc" 3`, `12 md.B _INBOX.r "" "" 0`, `7 md.A  "NATS/1.0\r\n\r\n" "hi" 2`, `3 md.C  "" "` + long[:20] + `" 200000`, `4 md.D  "" "" 200000`, `0 md.A  "" "z" 1`}
	wantPassed := "INFO {\"a\":1}\r\nPING\r\n<0><12><7>MSG other 1 9\r\nMSG A t0 \r\nHMSG x 12 r 12 14\r\nNATS/1.0\r\n\r\nho\r\n+OK\r\n<3><4>-ERR 'x'\r\n<0>PONG\r\n" +
		"MSG big 2 200000\r\n" + long + "\r\nPONG\r\n"
	rng := rand.New(rand.NewPCG(1, 1))
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "end with the data": iotest.DataErrReader,
		"chance": func(r io.Reader) io.Reader { return &chance{r, rng} },
	} {
		for _, each := range []int{1, 7, 32 << 10} {
			taken, passed, err := tapped(cut(strings.NewReader(text)), each)
			if err != io.EOF || passed != wantPassed || strings.Join(taken, "\n") != strings.Join(wantTaken, "\n") {
				t.Errorf("%s, %d: %v\n%.300q\n%.300q\n%q", name, each, err, passed, wantPassed, taken)
			}
		}
	}
}

// chance reads pieces of random sizes.
type chance struct {
	io.Reader
	rng *rand.Rand
}

func (c *chance) Read(p []byte) (int, error) { return c.Reader.Read(p[:1+c.rng.IntN(len(p))]) }

// What is no NATS is an error that stays, and nothing of it is taken.
func TestTapRefuses(t *testing.T) {
	for _, text := range []string{
		"MSG a t0 x\r\n", "MSG a t0\r\n", "MSG a t0 r r 1\r\n", "MSG a t0 -1\r\nab\r\n", "MSG a tx 1\r\na\r\n", "MUCH a t0 1\r\na\r\n",
		"HMSG a t0 5 4\r\nabcd\r\n", "MSG a t0 99999999999\r\n", "MSG " + strings.Repeat("a", 9000),
	} {
		taken, _, err := tapped(strings.NewReader("+OK\r\n"+text), 100)
		if !errors.Is(err, errWire) || len(taken) > 0 {
			t.Errorf("%.60q: %v, %q", text, err, taken)
		}
	}
}

// A client of nats.go works as ever over a tap, whose own messages come before what is behind them.
func TestTapUnderNATS(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("not ready")
	}
	seen := make([]int, 1000)
	var own *tap
	nc, err := natsgo.Connect(s.ClientURL(), natsgo.NoReconnect(), natsgo.SetCustomDialer(dialFunc(func(network, addr string) (net.Conn, error) {
		c, err := net.Dial(network, addr)
		own = newTap(c)
		own.deliver(func(m *wireMessage) { seen[m.sub]++ })
		return own, err
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	other, err := nc.SubscribeSync("md.5")
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for i := range seen {
		text = subscribe(text, fmt.Sprint("md.", i), i)
	}
	if _, err := own.Write(text); err != nil {
		t.Fatal(err)
	}
	flush := func() {
		t.Helper()
		if err := nc.FlushTimeout(10 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	for i := range seen {
		if err := nc.Publish(fmt.Sprint("md.", i), []byte(`{"p":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	for i, n := range seen {
		if n != 1 {
			t.Fatalf("%d came %d times", i, n)
		}
	}
	if m, err := other.NextMsg(10 * time.Second); err != nil || string(m.Data) != `{"p":1}` {
		t.Error(m, err)
	}
	if _, err := own.Write(unsubscribe(nil, 7)); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"md.7", "md.8"} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	if seen[7] != 1 || seen[8] != 2 {
		t.Errorf("after the end of one subscription %d, %d", seen[7], seen[8])
	}
}

type dialFunc func(network, addr string) (net.Conn, error)

func (f dialFunc) Dial(network, addr string) (net.Conn, error) { return f(network, addr) }

// From bytes to messages of 100,000 subscriptions, and nothing is allocated.
func BenchmarkTap(b *testing.B) {
	var text bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&text, "MSG md.GEN-%06d t%d 52\r\n%052d\r\n", i*100, i*100, i)
	}
	n := 0
	loop := &again{text: text.Bytes(), left: b.N * text.Len() / 1000}
	t := newTap(&stream{Reader: loop})
	t.deliver(func(m *wireMessage) { n += m.sub & 1 })
	b.ReportAllocs()
	b.ResetTimer()
	if _, err := t.Read(make([]byte, 1)); err != io.EOF {
		b.Fatal(err)
	}
}

// again says the same again and again.
type again struct {
	text     []byte
	at, left int
}

func (a *again) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p, a.text[a.at:])
	a.at = (a.at + n) % len(a.text)
	a.left -= n
	return n, nil
}
