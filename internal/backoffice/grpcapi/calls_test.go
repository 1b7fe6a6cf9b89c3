// SPDX-License-Identifier: Apache-2.0

package grpcapi

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	backofficev1 "tickedge/gen/tickedge/backoffice/v1"
	"tickedge/internal/backoffice"
	"tickedge/internal/tlstest"
)

// What HTTP refuses is refused here, with the same words.
func TestConns(t *testing.T) {
	w := serve(t, insecure.NewCredentials(), nil)
	c := w.plain()
	type ask = backofficev1.ListConnsRequest
	for _, v := range []struct {
		ask  *ask
		want string // The ids and what is next, or how it is refused.
	}{
		{&ask{}, "00000001 00000002 00000003 "},
		{&ask{Limit: 2}, "00000001 00000002 next 00000002"},
		{&ask{Limit: 2, Cursor: "00000002"}, "00000003 "},
		{&ask{Conn: "00000002"}, "00000002 "},
		{&ask{Conn: "00000009"}, ""},
		{&ask{Conn: "xyz"}, "NotFound: a connection is named by 8 hex digits"},
		{&ask{Limit: 1001}, "InvalidArgument: want limit from 1 to 1000"},
		{&ask{Cursor: "x"}, "InvalidArgument: want user up to 256 bytes"},
		{&ask{User: strings.Repeat("u", 257)}, "InvalidArgument: want user up to 256 bytes"},
		{&ask{Topic: "a b"}, "InvalidArgument: want user up to 256 bytes"},
		{&ask{Address: "1.2.3.4:5"}, "InvalidArgument: want address as an IP address"},
	} {
		resp, err := c.ListConns(w.bob(), v.ask)
		got := ""
		for _, c := range resp.GetConns() {
			got += c.GetId() + " "
		}
		if err != nil {
			got = show(err)
		} else if resp.GetNext() != "" {
			got += "next " + resp.GetNext()
		}
		if err == nil && got != v.want || !strings.HasPrefix(got, v.want) {
			t.Errorf("%v: got %s\nwant %s", v.ask, got, v.want)
		}
	}
	resp, err := c.ListConns(w.bob(), &ask{User: "ann", Topic: "A", Address: "127.0.0.1", Limit: 1})
	if f := w.edge.filter; err != nil || f.User != "ann" || f.Topic != "A" || f.Address.String() != "127.0.0.1" {
		t.Errorf("%v %+v", err, f)
	}
	want := `id:"00000001" user:"ann" address:"127.0.0.1:5" state:"open" transport:"websocket" since:7 topics:2 interval_ms:500 backlog_bytes:9`
	if got := strings.Join(strings.Fields(resp.GetConns()[0].String()), " "); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestDisconnect(t *testing.T) {
	w := serve(t, insecure.NewCredentials(), nil)
	c := w.plain()
	type ask = backofficev1.DisconnectRequest
	conn := func(id string) *backofficev1.DisconnectRequest_Conn {
		return &backofficev1.DisconnectRequest_Conn{Conn: id}
	}
	user := func(sub string) *backofficev1.DisconnectRequest_User {
		return &backofficev1.DisconnectRequest_User{User: sub}
	}
	long, empty := strings.Repeat("x", 101), ""
	for _, v := range []struct {
		ask  *ask
		want string
		bye  backoffice.Bye
	}{
		{&ask{Target: conn("00000001")}, "2 false", backoffice.DefaultBye},
		{&ask{Target: conn("00000001"), Code: 4100, Reason: &empty, RetryMs: 700}, "2 false", backoffice.Bye{Code: 4100, Retry: 700}},
		{&ask{Target: user("a/b"), Code: 4600}, "2 true", backoffice.Bye{Code: 4600, Reason: "ended by an operator"}},
		{&ask{Target: conn("00000000")}, "NotFound: this edge has no such connection", backoffice.DefaultBye},
		{&ask{}, "InvalidArgument: want conn", backoffice.Bye{}},
		{&ask{Target: conn("")}, "NotFound: a connection is named", backoffice.Bye{}},
		{&ask{Target: user("")}, "NotFound: want the sub of a token", backoffice.Bye{}},
		{&ask{Target: user(strings.Repeat("u", 257))}, "NotFound: want the sub of a token", backoffice.Bye{}},
		{&ask{Target: user("u"), Code: 1000}, "InvalidArgument: want code from 4000", backoffice.Bye{}},
		{&ask{Target: user("u"), Code: 5000}, "InvalidArgument: want code from 4000", backoffice.Bye{}},
		{&ask{Target: user("u"), Reason: &long}, "InvalidArgument: want reason", backoffice.Bye{}},
		{&ask{Target: user("u"), RetryMs: 3_600_001}, "InvalidArgument: want retry_ms", backoffice.Bye{}},
	} {
		w.edge.bye = backoffice.Bye{}
		resp, err := c.Disconnect(w.bob(), v.ask)
		got := show(err)
		if err == nil {
			got = strings.TrimSpace(strings.Join([]string{"2", map[bool]string{true: "true", false: "false"}[resp.GetAllEdges()]}, " "))
			if resp.GetDisconnected() != 2 {
				t.Errorf("%v: %v", v.ask, resp)
			}
		}
		if !strings.HasPrefix(got, v.want) || w.edge.bye != v.bye {
			t.Errorf("%v: got %s, %+v\nwant %s, %+v", v.ask, got, w.edge.bye, v.want, v.bye)
		}
	}
	if w.counted("Disconnect", 200) != 3 || w.log.Count(`what="gRPC Disconnect" code=200`) != 3 || w.log.Count("user=a/b ended=2 close_code=4600") != 1 {
		t.Errorf("%v", w.port.Requests())
	}
}

// Nobody calls without a key of the file, and of wrong ones not many are looked at.
func TestCallers(t *testing.T) {
	w := serve(t, insecure.NewCredentials(), nil)
	c := w.plain()
	list := func(fields ...string) error {
		_, err := c.ListConns(w.as(fields...), &backofficev1.ListConnsRequest{})
		return err
	}
	const key = "Bearer " + secret
	for _, v := range []struct {
		want   string
		fields []string
	}{
		{"OK: ", []string{"authorization", "bearer " + secret}},
		{"Unauthenticated: want Authorization", nil},
		{"Unauthenticated: want Authorization", []string{"authorization", key, "authorization", key}},
		{"Unauthenticated: want Authorization", []string{"authorization", "Basic " + secret}},
		{"Unauthenticated: want Authorization", []string{"authorization", key + "0"}},
		{"Unauthenticated: want Authorization", []string{"authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ."}},
		{"PermissionDenied: web pages", []string{"authorization", key, "origin", "https://evil.example"}},
		{"PermissionDenied: web pages", []string{"authorization", key, "sec-fetch-site", "cross-site"}},
	} {
		w.says(list(v.fields...), v.want)
	}
	if w.counted("ListConns", 401) != 5 || w.counted("ListConns", 403) != 2 || w.log.Count("without a key that is good") != 5 {
		t.Errorf("%v", w.port.Requests())
	}
	limited := false
	for range 100 {
		err := list("authorization", "Bearer wrong-wrong-wrong-wrong-wrong-wrong")
		if limited = limited || status.Code(err) == codes.ResourceExhausted; limited {
			break
		}
	}
	if !limited || w.log.Count("wrong-wrong") != 0 {
		t.Error("wrong keys have no limit, or are shown")
	}
	if err := list("authorization", key); err != nil {
		t.Errorf("behind wrong keys of the same address: %v", err)
	}
}

// Both doors have the same slots, and give them back.
func TestSlots(t *testing.T) {
	w := serve(t, insecure.NewCredentials(), nil)
	c := w.plain()
	held := 0
	for ; held < 100; held++ {
		p, err := c.Publish(w.bob())
		if err != nil {
			t.Fatal(err)
		}
		if err = p.Send(value("A", `{}`, 1)); err == nil {
			_, err = p.Recv()
		}
		if err != nil {
			w.says(err, "Unavailable: as many requests")
			break
		}
	}
	if held != 16 {
		t.Errorf("%d calls were taken", held)
	}
	if code := w.rest("/conns"); code != 503 {
		t.Errorf("%d by HTTP", code)
	}
	close(w.draining)
	w.until(func() bool { return w.counted("Publish", 503) == 17 }, "the end of all")
	if code := w.rest("/conns"); code != 200 {
		t.Errorf("%d by HTTP", code)
	}
	w.edge.panics = true
	for range 20 {
		if _, err := c.ListConns(w.bob(), &backofficev1.ListConnsRequest{}); err == nil {
			t.Fatal("no error")
		}
	}
	if w.counted("ListConns", 500) != 20 {
		t.Errorf("%v", w.port.Requests())
	}
}

// A certificate calls that is of the authorities of the back office, whoever else the port lets in.
func TestCertificates(t *testing.T) {
	office, clients := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	pair, err := tls.LoadX509KeyPair(office.Pair())
	if err != nil {
		t.Fatal(err)
	}
	both := x509.NewCertPool()
	for _, a := range []*tlstest.Authority{office, clients} {
		text, err := os.ReadFile(a.File)
		if err != nil || !both.AppendCertsFromPEM(text) {
			t.Fatal(err)
		}
	}
	w := serve(t, credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: both, ClientAuth: tls.VerifyClientCertIfGiven}),
		func(c *backoffice.Config) {
			c.TLSCert, c.TLSKey = office.Pair()
			c.ClientCA = office.File
		})
	for _, v := range []struct {
		shows *tlstest.Authority
		key   string
		want  string
	}{
		{office, "", "OK: "},
		{office, "wrong", "OK: "},
		{clients, "", "Unauthenticated: want Authorization"},
		{clients, secret, "OK: "},
		{nil, "", "Unauthenticated: want Authorization"},
		{nil, secret, "OK: "},
	} {
		ctx := w.as()
		if v.key != "" {
			ctx = w.as("authorization", "Bearer "+v.key)
		}
		_, err := w.dial(credentials.NewTLS(&tls.Config{RootCAs: office.Pool, Certificates: v.shows.Shown()})).ListConns(ctx, &backofficev1.ListConnsRequest{})
		w.says(err, v.want)
	}
	if w.log.Count("msg=audit who=somebody") != 2 || w.log.Count("msg=audit who=bob") != 2 {
		t.Error("the audit does not say who called")
	}
}
