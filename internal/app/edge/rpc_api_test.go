// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	backofficev1 "tickedge/gen/tickedge/backoffice/v1"
	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/app"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
	"tickedge/internal/tlstest"
)

// withOffice runs an edge with a back office and a port for gRPC until the test ends. It returns where clients are served.
func withOffice(t *testing.T, args ...string) (addr string, conn *grpc.ClientConn, said *logtest.Log) {
	t.Helper()
	c, err := Parse(append([]string{"-source", "memory", "-loops", "1", "-listen", "127.0.0.1:0", "-admin=", "-drain", "10ms",
		"-api", "127.0.0.1:0", "-api-key-file", "testdata/api-keys", "-grpc", "127.0.0.1:0"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	log, said := logtest.New(t)
	ctx, stop := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() { code <- Run(ctx, c, log) }()
	t.Cleanup(func() {
		stop()
		if code := <-code; code != app.OK {
			t.Errorf("code %d", code)
		}
	})
	redistest.Eventually(t, "the edge listens and has its feed", func() bool {
		return said.Count("msg=listening") == 1 && said.Count("feed up") == 1
	})
	of := func(msg string) string {
		return regexp.MustCompile(msg + `"? addr=(\S+)`).FindStringSubmatch(said.String())[1]
	}
	conn, err = grpc.NewClient("passthrough:///"+of("port for gRPC open"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return of("listening"), conn, said
}

// officeKey is the one of testdata/api-keys.
func officeKey(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer 0123456789abcdef0123456789abcdef")
}

// What is published by gRPC comes to its clients; who is connected by WebSocket is listed, and sent away.
func TestOfficeByGRPC(t *testing.T) {
	addr, conn, said := withOffice(t, "-grpc-api")
	office, ctx := backofficev1.NewBackOfficeClient(conn), officeKey(t.Context())
	ws, _, err := websocket.Dial(ctx, "ws://"+addr+"/ws?topics=A", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	var list *backofficev1.ListConnsResponse
	redistest.Eventually(t, "the connection is listed", func() bool {
		if list, err = office.ListConns(ctx, &backofficev1.ListConnsRequest{Topic: "A"}); err != nil {
			t.Fatal(err)
		}
		return len(list.GetConns()) == 1 && list.GetConns()[0].GetTransport() == "websocket"
	})
	ver := time.Now().UnixMicro() // The broker is that of all tests.
	p, err := office.Publish(ctx)
	if err == nil {
		err = p.Send(&backofficev1.PublishRequest{Topic: "A", Value: []byte(`{"p":1}`), Ver: ver})
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.Recv(); err != nil || r.GetResult() != backofficev1.Result_RESULT_TAKEN {
		t.Fatalf("%v %v", r, err)
	}
	redistest.Eventually(t, "the value is served", func() bool {
		resp, err := pricesv1.NewPricesClient(conn).GetPrices(t.Context(), &pricesv1.GetPricesRequest{Topics: []string{"A"}})
		return err == nil && len(resp.GetRows()) == 1 && string(resp.GetRows()[0].GetValue()) == fmt.Sprintf(`{"p":1,"ver":%d}`, ver)
	})
	id := &backofficev1.DisconnectRequest_Conn{Conn: list.GetConns()[0].GetId()}
	if resp, err := office.Disconnect(ctx, &backofficev1.DisconnectRequest{Target: id, Code: 4100}); err != nil || resp.GetDisconnected() != 1 {
		t.Errorf("%v %v", resp, err)
	}
	for err = nil; err == nil; {
		_, _, err = ws.Read(ctx)
	}
	if websocket.CloseStatus(err) != 4100 {
		t.Errorf("the WebSocket ended with %v", err)
	}
	if said.Count(`what="gRPC Disconnect" code=200`) != 1 {
		t.Error("the audit does not have it")
	}
	// The call is open: the end of the edge is its end, see withOffice.
}

// Who has not asked for it has no back office on the port for clients.
func TestNoOfficeByGRPC(t *testing.T) {
	_, conn, _ := withOffice(t)
	if _, err := backofficev1.NewBackOfficeClient(conn).ListConns(officeKey(t.Context()), &backofficev1.ListConnsRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("%v", err)
	}
}

// An office on that port that nobody may call, or that keys are sent to in the clear, is a mistake.
func TestOfficeByGRPCIsSafe(t *testing.T) {
	a := tlstest.NewAuthority(t)
	cert, key := a.Pair()
	const api, keys, rpc = "-api 127.0.0.1:8082 -grpc-api", " -api-key-file testdata/api-keys", " -grpc 127.0.0.1:8083"
	secure := " -grpc :8083 -grpc-tls-cert " + cert + " -grpc-tls-key " + key
	certs := " -api-client-ca " + a.File + " -api-tls-cert " + cert + " -api-tls-key " + key
	for args, says := range map[string]string{
		api + keys + rpc:    "",
		api + keys + secure: "",
		api + certs + secure + " -grpc-client-ca " + a.File: "",
		api + keys + " -grpc :8083":                         "-grpc-api is set and -grpc is not loopback",
		api + certs + secure:                                "-grpc-api is set, and nobody may call it",
		"-grpc-api" + rpc:                                   "-grpc-api has no effect: -api is not set",
		api + keys:                                          "-grpc-api has no effect: -grpc is not set",
	} {
		code, _, stderr := program(t, append([]string{"-demo"}, strings.Fields(args)...)...)
		if want := map[bool]int{true: app.OK, false: app.Usage}[says == ""]; code != want || !strings.Contains(stderr, says) {
			t.Errorf("%s: code %d, %s\nwant %s", args, code, stderr, says)
		}
	}
}
