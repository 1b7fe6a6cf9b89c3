// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
	"tickedge/internal/app"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
)

// The port for gRPC has the values, tokens and users of the client port, and is drained with it.
func TestGRPC(t *testing.T) {
	t.Setenv(secretEnv, aSecret)
	c, err := Parse([]string{"-demo", "-loops", "1", "-listen", "127.0.0.1:0", "-admin=", "-grpc", "127.0.0.1:0", "-max-sessions-per-user", "1", "-drain", "10ms"})
	if err != nil {
		t.Fatal(err)
	}
	listens := make(chan net.Addr, 1)
	c.OnListen(func(addr net.Addr) { listens <- addr })
	log, said := logtest.New(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	code := make(chan int, 1)
	go func() { code <- Run(ctx, c, log) }()
	redistest.Eventually(t, "the edge listens and has its feed", func() bool {
		return said.Count("msg=listening") == 1 && said.Count("feed up") == 1
	})
	addr := regexp.MustCompile(`port for gRPC open" addr=(\S+)`).FindStringSubmatch(said.String())
	conn, err := grpc.NewClient("passthrough:///"+addr[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	redistest.Eventually(t, "the health service says so", func() bool {
		resp, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
		return err == nil && resp.GetStatus() == healthv1.HealthCheckResponse_SERVING
	})

	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}).SignedString([]byte(aSecret))
	if err != nil {
		t.Fatal(err)
	}
	ws, _, err := websocket.Dial(ctx, "ws://"+(<-listens).String()+"/ws?token="+token, nil)
	if err != nil {
		t.Fatal(err)
	}
	prices := pricesv1.NewPricesClient(conn)
	if _, err := prices.GetPrices(ctx, &pricesv1.GetPricesRequest{Topics: []string{"AAPL"}}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	user := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token)
	resp, err := prices.GetPrices(user, &pricesv1.GetPricesRequest{Topics: []string{"AAPL"}})
	if err != nil || len(resp.GetRows()) != 1 {
		t.Errorf("%v %v", resp, err)
	}
	s, err := prices.Stream(user) // It takes the place of the WebSocket.
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = ws.Read(ctx)
	}
	if websocket.CloseStatus(err) != 4504 {
		t.Errorf("the WebSocket ended with %v", err)
	}
	stop()
	for err = nil; err == nil; {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.Unavailable || !strings.HasPrefix(status.Convert(err).Message(), "1012 ") {
		t.Errorf("the stream ended with %v", err)
	}
	if code := <-code; code != app.OK {
		t.Errorf("code %d", code)
	}
}
