// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"tickedge/internal/trade"
)

func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"kafka://127.0.0.1:9092": "", "kafka://a,b:9093,[::1]:1": "", "KAFKA://u:p%40w@a": "", "kafka+tls://u:sesame@a?sasl=plain": "",
		"kafka+tls://a": "", "kafka://u:p@a?sasl=scram-sha-256": "",
		"redis://a": "it is not valid", "a:9092": "it is not valid", "kafka://": "a server is not valid", "kafka://a,,b": "a server is not valid",
		"kafka://a:0": "a server is not valid", "kafka://a:x": "a server is not valid", "kafka://a/x": "it has a /", "kafka://sesame@a": "its user and password",
		"kafka://u:sesame@x@a": "its user and password", "kafka://u:sesame@a?sasl=plain": "sasl=plain would send the password",
		"kafka://a?sasl=plain": "does nothing without user", "kafka://u:sesame@a?sasl=x": "its option sasl is not valid",
		"kafka://a?x=1": "an option that is unknown", "kafka://a?tls_ca=x": "do nothing without TLS", "kafka+tls://a?tls_cert=x": "want both",
		"kafka+tls://a?tls_ca=/none": "its tls_ca", "kafka://a b": "it has a blank", "kafka://u:sesame%zz@a": "its user and password",
	} {
		err := Config{URL: url}.Validate()
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", url, err, want)
		case err != nil && strings.Contains(err.Error(), "sesame"):
			t.Errorf("%s: the error %v shows the password", url, err)
		}
		if shown := (Config{URL: url}).String(); strings.Contains(shown, "sesame") && strings.Contains(url, ":sesame") {
			t.Errorf("%s is shown as %s", url, shown)
		}
	}
}

// certificate makes one for 127.0.0.1, and a file of it.
func certificate(t *testing.T) (tls.Certificate, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, name
}

// TestWhoMayWrite uses TLS and each way to show a password.
func TestWhoMayWrite(t *testing.T) {
	pair, ca := certificate(t)
	for how, method := range map[string]string{"plain": "PLAIN", "scram-sha-256": "SCRAM-SHA-256", "scram-sha-512": "SCRAM-SHA-512"} {
		t.Run(how, func(t *testing.T) {
			cluster, _ := newCluster(t, "trades", 1, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}}), kfake.EnableSASL(),
				kfake.Superuser(method, "u", "se@ame"))
			at := "@" + strings.Join(cluster.ListenAddrs(), ",") + "?sasl=" + how
			c := Config{URL: "kafka+tls://u:se%40ame" + at + "&tls_ca=" + ca}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			if err := c.Prepare(ctx, false, Topic{Name: "trades", Partitions: 1}); err != nil {
				t.Error(err)
			}
			for name, url := range map[string]string{
				"password":  "kafka+tls://u:wrong" + at + "&tls_ca=" + ca,
				"authority": "kafka+tls://u:se%40ame" + at,
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				if err := (Config{URL: url}).Prepare(ctx, false, Topic{Name: "trades", Partitions: 1}); err == nil || strings.Contains(err.Error(), "wrong@") {
					t.Errorf("with a wrong %s: %v", name, err)
				}
				cancel()
			}
		})
	}
}

func TestTopics(t *testing.T) {
	_, c := newCluster(t, "there", 2)
	_, other := newCluster(t, "there", 2, kfake.ClusterID("other"))
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for _, test := range []struct {
		topic  Topic
		create bool
		want   string
	}{
		{Topic{"there", 4, 0}, false, ""}, {Topic{"none", 4, 0}, false, "kafka-topics.sh --create --topic none --partitions 4"},
		{Topic{"none", 4, 0}, true, ""}, {Topic{"none", 4, 0}, true, ""}, {Topic{"none", 4, 0}, false, ""},
		{Topic{"many", 4, 9}, true, "can't be made"}, {Topic{"a/b", 1, 0}, true, "kafka topic is"}, {Topic{"x", 0, 0}, true, "at least 1 partition"},
	} {
		err := c.Prepare(ctx, test.create, test.topic)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v, want %q", test, err, test.want)
		}
	}
	d, err := describe(ctx, adminOf(t, c), "none")
	if err != nil || len(d.Partitions) != 4 {
		t.Errorf("the topic that was made has %d partitions, %v", len(d.Partitions), err)
	}
	if err := CheckLoop(ctx, c, "there", c, "bars", "there"); err == nil || !strings.Contains(err.Error(), "is read and written") {
		t.Errorf("a loop: %v", err)
	}
	if err := CheckLoop(ctx, c, "there", c, "bars", "none"); err != nil {
		t.Errorf("other topics: %v", err)
	}
	if err := CheckLoop(ctx, c, "there", other, "there"); err != nil {
		t.Errorf("another cluster: %v", err)
	}
}

// TestKcat has trades in JSON made by kcat, and reads what we write with it.
func TestKcat(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Fatal("there is no kcat here: make deps installs it")
	}
	cluster, c := newCluster(t, "trades", 3)
	table := newTable(t, 2)
	w := newWorld(t, table)
	run := func(in string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		cmd := exec.CommandContext(ctx, kcat, append([]string{"-b", strings.Join(cluster.ListenAddrs(), ",")}, args...)...)
		cmd.Stdin = strings.NewReader(in)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("kcat: %v\n%s", err, &errs)
		}
		return string(out)
	}
	var lines strings.Builder
	for id := int64(1); id <= 40; id++ {
		for _, s := range table.Source("SIM") {
			trade := nth(s, id)
			lines.WriteString(s.Name + "\t" + string(appendTrade(nil, &trade)) + "\n")
		}
	}
	run(lines.String(), "-P", "-t", "trades", "-K", "\t", "-X", "partitioner=murmur2_random")
	p := w.start(c, "trades")
	w.await("the trades of kcat", func() bool { return w.counted() == 80 })
	write(t, startWriter(t, WriterConfig{Kafka: c, Trades: "trades", Format: JSON}), table, 41, 50)
	w.await("our trades", func() bool { return w.counted() == 100 })
	p.stop()
	w.check(3, 2, 50) // Both have put the trades of a symbol into the same partition.
	got := run("", "-C", "-t", "trades", "-e", "-q", "-f", "%k\t%s\n")
	want := nth(table.Named("SIM:S1"), 50)
	if n := strings.Count(got, "\n"); n != 100 || !strings.Contains(got, "SIM:S1\t"+string(appendTrade(nil, &want))+"\n") {
		t.Errorf("kcat has read %d records, want 100:\n%.600s", n, got)
	}
}

// TestTradesAreExact writes and reads trades in both formats, and of other scales.
func TestTradesAreExact(t *testing.T) {
	table := newTable(t, 1)
	s := table.Named("SIM:S0")
	for _, want := range []trade.Trade{
		nth(s, 1), {Symbol: s, Source: "COINBASE", Price: 1<<63 - 1, Size: 1<<63 - 1, Time: 5, Received: 9, ID: 1<<63 - 1, Side: trade.Sell, Bid: 9_007_199_254_740_993,
			Ask: 1, Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{Symbol: s, Source: "SIM", Price: 1, Time: 1, Received: 1, Side: trade.Buy},
	} {
		for _, f := range []Format{Protobuf, JSON} {
			r := newRecord("t", s.Name, encodeTrade(nil, &want, f), f)
			got, err := decodeTrade(r, table, 1<<60)
			if err != nil {
				t.Fatalf("%s: %v", r.Value, err)
			}
			if got != want {
				t.Errorf("%s: the trade is %+v, want %+v", f, got, want)
			}
		}
	}
}

// TestTradesOfOtherScales are turned into those of the symbol, exactly or not at all. Numbers in JSON may stand in quotes.
func TestTradesOfOtherScales(t *testing.T) {
	two := uint8(2)
	table, err := trade.NewTable([]trade.Entry{{Symbol: "A", Source: "x", PriceScale: &two}}, func(string) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int64{
		`{"symbol":"A","price":"12.34","size":"1","time":"7","id":"3"}`: 1234, `{"symbol":"A","price":12.3,"size":1,"time":7,"id":3}`: 1230,
		`{"symbol":"A","price":1e2,"size":1,"time":7,"id":3}`: 10000, `{"symbol":"A","price":12.345,"size":1,"time":7,"id":3}`: 0,
	} {
		got, err := parseTrade([]byte(text), table)
		if want == 0 && err == nil || want != 0 && (err != nil || got.Price != want || got.Size != 1e8 || got.ID != 3 || got.Time != 7) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// FuzzDecode finds no record that panics, or a trade that Check refuses.
func FuzzDecode(f *testing.F) {
	table := newTable(f, 1)
	good := nth(table.Named("SIM:S0"), 1)
	f.Add(encodeTrade(nil, &good, JSON))
	f.Add(encodeTrade(nil, &good, Protobuf))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeTrade(newRecord("t", "", b, ""), table, 1<<60)
		if err == nil && (got.Check(1<<60) != nil || got.Symbol == nil) {
			t.Errorf("%q: %+v", b, got)
		}
	})
}
