// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

// publishRaw publishes a message whose header is any bytes: no client library would.
func publishRaw(t *testing.T, s *server.Server, subject, header, value string) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "CONNECT {\"user\":\"publisher\",\"pass\":%q,\"verbose\":false,\"headers\":true}\r\n", secret)
	fmt.Fprintf(c, "HPUB %s %d %d\r\n%s%s\r\nPING\r\n", subject, len(header), len(header)+len(value), header, value)
	var said []byte
	for buf := make([]byte, 4096); !strings.Contains(string(said), "PONG"); {
		n, err := c.Read(buf)
		if said = append(said, buf[:n]...); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
}

// foreign are headers that any publisher may write.
var foreign = map[string]string{
	"not a header":      "anything\r\n\r\n",
	"no colon":          "NATS/1.0\r\nnothing\r\n\r\n",
	"a status":          "NATS/1.0 404 No Messages\r\n\r\n",
	"status 100":        "NATS/1.0 100 FlowControl Request\r\n\r\n",
	"header Status":     "NATS/1.0\r\nStatus: 404\r\n\r\n",
	"header Status 100": "NATS/1.0\r\nStatus: 100\r\n\r\n",
	"another sequence":  "NATS/1.0\r\nNats-Stream: OTHER\r\nNats-Sequence: 1000000\r\n\r\n",
	"long":              "NATS/1.0\r\nA: " + strings.Repeat("x", 65535-len("NATS/1.0\r\nA: \r\n\r\n")) + "\r\n\r\n",
}

// A header that a publisher has written, whatever it is, ends no link, and hides neither other topics nor later values
// of the same: the stream has it for every link that comes.
func TestForeignHeaders(t *testing.T) {
	for name, header := range foreign {
		for _, direct := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, direct %v", name, direct), func(t *testing.T) {
				t.Parallel()
				server, _ := startServer(t, t.TempDir(), -1)
				js := makeStream(t, dialServer(t, server), direct)
				publishRaw(t, server, "md.A", header, "1")
				s, e := runStream(t, fmt.Sprintf("nats://edge:%s@%s", secret, server.Addr()), "A", "B", "C", "D", "E") // A batch, where the server answers directly.
				await(t, "A is known", func() bool { return e.of("A") != "" })
				publishRaw(t, server, "md.A", header, "2")
				if name != "long" {
					await(t, "A shows its value", func() bool { return e.of("A") == "2" })
				}
				for _, topic := range []string{"A", "B"} {
					if _, err := js.PublishMsg(&natsgo.Msg{Subject: "md." + topic, Data: []byte("3")}); err != nil {
						t.Fatal(err)
					}
				}
				await(t, "A and B tick", func() bool { return e.of("A") == "3" && e.of("B") == "3" })
				if st := s.Stats(); st.Counts[broker.Connects] != 1 {
					t.Errorf("%d connections, want one", st.Counts[broker.Connects])
				}
			})
		}
	}
}
