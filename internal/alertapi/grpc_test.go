// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	alertsv1 "tickedge/gen/tickedge/alerts/v1"
	"tickedge/internal/alert"
	"tickedge/internal/alertapi"
	"tickedge/internal/alertapi/grpcapi"
	"tickedge/internal/guard"
)

// calling is a client of gRPC of a site.
type calling struct {
	*site
	alertsv1.AlertsServiceClient
	server *grpcapi.Server
	conn   *grpc.ClientConn
	stop   func()
}

// grpc runs the service of a site at a port until the test ends.
func (s *site) grpc() *calling {
	s.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &calling{site: s, server: grpcapi.New(s.Service)}
	done := make(chan error, 1)
	go func() { done <- c.server.Serve(ctx, ln, nil) }()
	ended := false
	c.stop = func() {
		if cancel(); !ended {
			ended = true
			if err := <-done; err != nil {
				s.Error(err)
			}
		}
	}
	s.Cleanup(c.stop)
	c.conn, err = grpc.NewClient("passthrough:///"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.conn.Close() })
	c.AlertsServiceClient = alertsv1.NewAlertsServiceClient(c.conn)
	return c
}

// as is a call with a token or a key, or without any if it is empty.
func as(t testing.TB, token string) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// call calls a method by the type of its request.
func (c *calling) call(ctx context.Context, req proto.Message) (resp proto.Message, err error) {
	switch req := req.(type) {
	case *alertsv1.CreateAlertRequest:
		return c.CreateAlert(ctx, req)
	case *alertsv1.GetAlertRequest:
		return c.GetAlert(ctx, req)
	case *alertsv1.ListAlertsRequest:
		return c.ListAlerts(ctx, req)
	case *alertsv1.UpdateAlertRequest:
		return c.UpdateAlert(ctx, req)
	case *alertsv1.DeleteAlertRequest:
		return c.DeleteAlert(ctx, req)
	case *alertsv1.ListFiredRequest:
		return c.ListFired(ctx, req)
	}
	return nil, errors.New("no such method")
}

// expect calls, and checks the code and what the answer or the error says.
func (c *calling) expect(token string, req proto.Message, code codes.Code, want ...string) {
	c.Helper()
	resp, err := c.call(as(c, token), req)
	got := status.Convert(err).Message()
	if err == nil {
		b, _ := protojson.MarshalOptions{UseProtoNames: true}.Marshal(resp)
		got = strings.ReplaceAll(string(b), `": `, `":`) // It puts blanks in at random, so that nobody relies on its form.
		got = strings.ReplaceAll(got, `, "`, `,"`)
	}
	if status.Code(err) != code {
		c.Errorf("%T %v: %v %s, want %v", req, req, status.Code(err), got, code)
	}
	for _, text := range want {
		if !strings.Contains(got, text) {
			c.Errorf("%T %v: %s, want %s", req, req, got, text)
		}
	}
}

func above(symbol, price string) *alertsv1.Spec {
	return &alertsv1.Spec{Symbol: symbol, Condition: alertsv1.Condition_CONDITION_ABOVE, TargetPrice: price}
}

type (
	create = alertsv1.CreateAlertRequest
	get    = alertsv1.GetAlertRequest
	list   = alertsv1.ListAlertsRequest
	update = alertsv1.UpdateAlertRequest
	remove = alertsv1.DeleteAlertRequest
	fired  = alertsv1.ListFiredRequest
)

// What gRPC and REST say of the same alerts is the same.
func TestGRPC(t *testing.T) {
	s := newSite(t, nil)
	c := s.grpc()
	apples := &create{UserId: "1", Spec: above("AAPL", "150.00"), IdempotencyKey: "a"}
	c.expect("", apples, codes.OK, `"id":"1"`, `"user_id":"1"`, `"target_price":"150"`, `"condition":"CONDITION_ABOVE"`,
		`"state":"STATE_ACTIVE"`, `"active":true`, `"created":"1700000000000"`, `"arm":"1"`, `"armed":"1700000000000"`, `"created":true`)
	again, err := c.CreateAlert(as(t, ""), apples)
	if err != nil || again.GetCreated() || again.GetAlert().GetId() != 1 {
		t.Errorf("%v %v", again, err)
	}
	const said = `"user_id":1,"symbol":"AAPL","condition":"ABOVE","target_price":150,`
	if got := s.want(200, "GET", "/alerts/1", ""); !strings.Contains(got, said) {
		t.Error(got)
	}
	whole := &alertsv1.Spec{
		Symbol: "B", Condition: alertsv1.Condition_CONDITION_FALLS, Percent: "2.5", Window: "1h", Repeat: true, Hysteresis: "0.5",
		Expires: now + 1, Note: "x",
	}
	c.expect("", &create{UserId: "ann", Spec: whole}, codes.OK)
	average := &alertsv1.Spec{Symbol: "B", Condition: alertsv1.Condition_CONDITION_BELOW_AVERAGE, Interval: "1h", Bars: 20}
	c.expect("", &create{UserId: "ann", Spec: average}, codes.OK)
	for id, spec := range map[int64]*alertsv1.Spec{2: whole, 3: average} {
		if resp, err := c.GetAlert(as(t, ""), &get{Id: id}); err != nil || !proto.Equal(resp.GetAlert().GetSpec(), spec) {
			t.Errorf("%v %v, want %v", resp, err, spec)
		}
	}
	s.want(201, "POST", "/alerts", `{"user_id":"ann","symbol":"AAPL","condition":"CROSSES","target_price":"1e-12"}`)
	c.expect("", &list{UserId: "ann", Limit: 2}, codes.OK, `"id":"2"`, `"id":"3"`, `"next":"3"`)
	c.expect("", &list{UserId: "ann", After: 3, Symbol: "AAPL", ActiveOnly: true}, codes.OK,
		`"id":"4"`, `"target_price":"0.000000000001"`, `CONDITION_CROSSES`)
	s.store.fire(4, num(t, "150.2500"), now)
	c.expect("", &list{UserId: "ann", After: 3, ActiveOnly: true}, codes.OK, `{}`)
	const firing = `{"n":"1","alert":"4","arm":"1","at":"1700000000000","price":"150.25","by":"FIRED_BY_PRICE"}`
	c.expect("", &get{Id: 4}, codes.OK, `"state":"STATE_FIRED"`, `"fired":`+firing)
	c.expect("", &fired{UserId: "ann"}, codes.OK, `{"fired":[`+firing+`],"number":"1"}`)
	c.expect("", &fired{UserId: "ann", After: 1}, codes.OK, `{"number":"1"}`)

	c.expect("", &update{Id: 2, Spec: &alertsv1.Spec{Note: "y", Percent: "3"}, Arm: 1}, codes.OK,
		`"note":"y"`, `"percent":"3"`, `"window":"1h"`, `"arm":"2"`)
	mask := func(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }
	c.expect("", &update{Id: 2, UpdateMask: mask("note", "expires"), Spec: &alertsv1.Spec{Percent: "4"}}, codes.OK,
		`"percent":"3"`, `"arm":"3"`)
	if a := s.store.alerts[2]; a.Note != "" || a.Expires != 0 || !a.Repeat {
		t.Errorf("%+v", a)
	}
	c.expect("", &update{Id: 2, UpdateMask: mask("*"), Spec: above("B", "7")}, codes.OK, `"target_price":"7"`, `"arm":"4"`)
	if a := s.store.alerts[2]; a.Repeat || a.Percent != (alert.Num{}) {
		t.Errorf("%+v", a)
	}
	c.expect("", &update{Id: 2, UpdateMask: mask()}, codes.OK, `"target_price":"7"`, `"arm":"5"`)
	c.expect("", &remove{Id: 2, Arm: 5}, codes.OK, `{}`)
	c.expect("", &get{Id: 2}, codes.NotFound, "no such alert")
	if n := s.changed; len(n) != 9 || n[8].State != alert.Deleted {
		t.Errorf("told: %+v", n)
	}
	h, err := healthv1.NewHealthClient(c.conn).Check(as(t, ""), &healthv1.HealthCheckRequest{Service: "tickedge.alerts.v1.AlertsService"})
	if err != nil || h.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("%v %v", h, err)
	}
	if n := c.server.Counts(); n["NotFound"] != 1 || n["OK"] < 10 {
		t.Errorf("%v", n)
	}
	c.stop()
	if _, err := c.GetAlert(as(t, ""), &get{Id: 1}); status.Code(err) != codes.Unavailable {
		t.Errorf("after its end: %v", err)
	}
}

// The errors of REST, as codes.
func TestGRPCRefusals(t *testing.T) {
	s := newSite(t, func(c *alertapi.Config) { c.Quota = 1 })
	c := s.grpc()
	s.put(apple, "Idempotency-Key: a")
	spec := above("AAPL", "1")
	with := func(change func(*alertsv1.Spec)) *create {
		spec := above("AAPL", "1")
		change(spec)
		return &create{UserId: "1", Spec: spec}
	}
	for _, r := range []struct {
		req  proto.Message
		code codes.Code
		want string
	}{
		{&create{UserId: "1", Spec: spec}, codes.ResourceExhausted, "1 alerts"},
		{&create{UserId: "1", Spec: spec, IdempotencyKey: "a"}, codes.AlreadyExists, "something else"},
		{&create{UserId: "2", Spec: spec, IdempotencyKey: "\n"}, codes.InvalidArgument, "printable"},
		{&create{UserId: "1"}, codes.InvalidArgument, "symbol: want"},
		{&create{Spec: spec}, codes.InvalidArgument, "user_id: it is missing"},
		{&create{UserId: "\n", Spec: spec}, codes.InvalidArgument, "user_id: want"},
		{with(func(s *alertsv1.Spec) { s.Condition = 0 }), codes.InvalidArgument, "condition: want"},
		{with(func(s *alertsv1.Spec) { s.Condition = 99 }), codes.InvalidArgument, "condition: want"},
		{with(func(s *alertsv1.Spec) { s.TargetPrice = "x" }), codes.InvalidArgument, "target_price: not a decimal"},
		{with(func(s *alertsv1.Spec) { s.Percent = "1e99" }), codes.InvalidArgument, "percent: the number"},
		{with(func(s *alertsv1.Spec) { s.Hysteresis = "-" }), codes.InvalidArgument, "hysteresis: not a decimal"},
		{with(func(s *alertsv1.Spec) { s.Window = "2m" }), codes.InvalidArgument, "window: want"},
		{with(func(s *alertsv1.Spec) { s.Bars = -1 }), codes.InvalidArgument, "bars: ABOVE has none"},
		{with(func(s *alertsv1.Spec) { s.Expires = -1 }), codes.InvalidArgument, "expires: it is over"},
		{with(func(s *alertsv1.Spec) { s.Note = strings.Repeat("x", 20_000) }), codes.ResourceExhausted, "larger than max"},
		{&get{}, codes.NotFound, "no such alert"},
		{&get{Id: -1}, codes.NotFound, "no such alert"},
		{&get{Id: 1, UserId: "2"}, codes.NotFound, "no such alert"},
		{&list{Limit: 1001}, codes.InvalidArgument, "limit: want"},
		{&list{Limit: -1}, codes.InvalidArgument, "limit: want"},
		{&list{After: -1}, codes.InvalidArgument, "after: want"},
		{&list{Symbol: "a b"}, codes.InvalidArgument, "symbol: want"},
		{&fired{}, codes.InvalidArgument, "user_id: it is missing"},
		{&fired{UserId: "1", After: -1}, codes.InvalidArgument, "after: want"},
		{&fired{UserId: "1", Limit: -1}, codes.InvalidArgument, "limit: want"},
		{&update{Id: 1, Spec: spec, Arm: 2}, codes.Aborted, "another arm"},
		{&update{Id: 1, Spec: spec, Arm: -1}, codes.InvalidArgument, "arm: want"},
		{&update{Id: 1, Spec: above("B", "")}, codes.InvalidArgument, "keeps it"},
		{&update{Id: 1, Spec: spec, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"id"}}}, codes.InvalidArgument, `"id" is no field`},
		{&update{Id: 1, UserId: "2", Spec: spec}, codes.NotFound, "no such alert"},
		{&remove{Id: 1, Arm: 2}, codes.Aborted, "another arm"},
		{&remove{Id: 1, Arm: -1}, codes.InvalidArgument, "arm: want"},
		{&remove{Id: 1, UserId: "2"}, codes.NotFound, "no such alert"},
	} {
		c.expect("", r.req, r.code, r.want)
	}
	if a := s.store.alerts[1]; len(s.store.alerts) != 1 || a.Arm != 1 || a.State != alert.Active {
		t.Errorf("something was done: %+v", s.store.alerts)
	}
	s.store.fail = func(_ context.Context, method string) error {
		if method == "change" {
			return alert.ErrState
		}
		return nil
	}
	c.expect("", &update{Id: 1}, codes.Aborted, "meanwhile")
	c.expect("", &update{Id: 1, Arm: 1}, codes.Aborted, "another arm")
	s.store.fail = func(context.Context, string) error { return errors.New("on fire") }
	c.expect("", &get{Id: 1}, codes.Unavailable, "try again")
	s.store.fail = func(context.Context, string) error { panic("on demand") }
	for _, req := range []proto.Message{
		&get{Id: 1}, &create{UserId: "1", Spec: spec}, &list{}, &update{Id: 1}, &remove{Id: 1}, &fired{UserId: "1"},
	} {
		c.expect("", req, codes.Internal, "a bug of the server")
	}
	s.store.fail = nil
	c.expect("", &get{Id: 1}, codes.OK)
}

// The rights of REST: another's alert is not there, and another user not to be asked for.
func TestGRPCRights(t *testing.T) {
	s := guarded(t, nil)
	c := s.grpc()
	ann, bob := token("ann", ""), token("bob", "")
	spec := above("AAPL", "150")
	c.expect(ann, &create{Spec: spec}, codes.OK, `"user_id":"ann"`)
	c.expect(bob, &create{Spec: spec, UserId: "bob"}, codes.OK, `"user_id":"bob"`)
	s.store.fire(1, num(t, "151"), now)
	for _, r := range []struct {
		who  string
		req  proto.Message
		code codes.Code
		want string
	}{
		{ann, &get{Id: 1}, codes.OK, `"id":"1"`},
		{bob, &get{Id: 1}, codes.NotFound, "no such"},
		{bob, &get{Id: 1, UserId: "ann"}, codes.PermissionDenied, "sub of your"},
		{bob, &create{Spec: spec, UserId: "ann"}, codes.PermissionDenied, "sub of your"},
		{bob, &list{UserId: "ann"}, codes.PermissionDenied, "sub of your"},
		{bob, &list{}, codes.OK, `{"alerts":[{"id":"2"`},
		{bob, &fired{UserId: "ann"}, codes.PermissionDenied, "sub of your"},
		{bob, &fired{}, codes.OK, `{}`},
		{ann, &fired{}, codes.OK, `"number":"1"`},
		{bob, &update{Id: 1, Spec: spec}, codes.NotFound, "no such"},
		{bob, &update{Id: 1, Spec: spec, UserId: "ann"}, codes.PermissionDenied, "sub of your"},
		{bob, &remove{Id: 1}, codes.NotFound, "no such"},
		{bob, &remove{Id: 1, UserId: "ann"}, codes.PermissionDenied, "sub of your"},
		{trustedKey, &list{}, codes.OK, `{"alerts":[{"id":"1"`},
		{trustedKey, &get{Id: 2}, codes.OK, `"user_id":"bob"`},
		{trustedKey, &create{Spec: spec}, codes.InvalidArgument, "user_id: it is missing"},
		{token("ann", `["MSFT"]`), &create{Spec: spec}, codes.PermissionDenied, "does not allow AAPL"},
		{token("ann", `["MSFT"]`), &update{Id: 1, Spec: spec}, codes.PermissionDenied, "does not allow AAPL"},
		{token("ann", `["AA*"]`), &create{Spec: spec}, codes.OK, `"id":"3"`},
		{"x", &list{}, codes.Unauthenticated, "not a JWT"},
		{"", &get{Id: 1}, codes.Unauthenticated, "Authorization"},
		{"", &create{Spec: spec}, codes.Unauthenticated, "Authorization"},
		{"", &list{}, codes.Unauthenticated, "Authorization"},
		{"", &update{Id: 1}, codes.Unauthenticated, "Authorization"},
		{"", &remove{Id: 1}, codes.Unauthenticated, "Authorization"},
		{"", &fired{}, codes.Unauthenticated, "Authorization"},
	} {
		c.expect(r.who, r.req, r.code, r.want)
	}
	twice := metadata.AppendToOutgoingContext(as(t, ann), "authorization", "Bearer "+bob)
	if _, err := c.ListAlerts(twice, &list{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("two tokens: %v", err)
	}
	// Both doors count the requests of an address together.
	s = newSite(t, func(c *alertapi.Config) {
		c.Rate = guard.Rate{PerSecond: 1, Burst: 1}
		c.Trusted, _ = guard.ParseTrusted("127.0.0.1")
	})
	c = s.grpc()
	for range 1000 {
		resp, err := c.ListAlerts(metadata.AppendToOutgoingContext(as(t, ""), "x-forwarded-for", "10.0.0.1"), &list{})
		if status.Code(err) == codes.ResourceExhausted {
			return
		}
		if err != nil {
			t.Fatal(resp, err)
		}
	}
	t.Error("an address may ask as often as it likes")
}
