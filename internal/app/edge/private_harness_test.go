// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	alertsv1 "tickedge/gen/tickedge/alerts/v1"
	backofficev1 "tickedge/gen/tickedge/backoffice/v1"
	"tickedge/internal/alert"
	alertpebble "tickedge/internal/alert/pebble"
	"tickedge/internal/alertapi"
	alertgrpc "tickedge/internal/alertapi/grpcapi"
	"tickedge/internal/auth"
	"tickedge/internal/bars"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/guard"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/logtest"
	"tickedge/internal/trade"
)

// public is a name that everybody may have, and so is newest, which is held behind all others.
const public, newest = "PUBLIC", "NEWEST"

// subs are users whose names are easily taken for something else: patterns, parts of paths and of escapes, what scripts write
// for nothing. Each has an alert, and a value of a private name.
var subs = []string{
	"ann", "anna", "an", "null", "undefined", "0", "*", "**", "?", "a*", "a:b", "alerts:ann", "a/b", "../ann", "%", "%2A", "50%25", "a b",
	"\"", "{}", "ünï", "ann\u200b", strings.Repeat("v", 255), strings.Repeat("v", 254),
}

// odd are names that are nobody's, and try to be more than one.
var odd = []string{
	"*", "**", "?", "alerts:", "alerts:*", "alerts:**", "alerts:?", "alerts:a?n", "alerts:an*", "alerts:%2A", "alerts%3Aann", "Alerts:ann",
	"alerts:ANN", "alerts:ann/", "alerts:./ann", "alerts:ann~00", "alerts::ann", "alerts:null:ann", "alerts:" + strings.Repeat("v", 57),
}

// nameOf is the private name of a user.
func nameOf(sub string) string { return auth.PrivateName(auth.DefaultPrivate, sub) }

// secretOf is what only a user may read.
func secretOf(sub string) string {
	for i, s := range subs {
		if s == sub {
			return fmt.Sprintf("secret-%d-of-a-user", i)
		}
	}
	return "secret-of-nobody"
}

// visitor is somebody who tries all doors.
type visitor struct {
	sub   string // Empty for who has no token.
	token string
	claim any
}

func (v *visitor) String() string { return fmt.Sprintf("%.20q with the claim %v", v.sub, v.claim) }

// visit makes a visitor of a user, whose token has a claim of topics, or none.
func visit(t *testing.T, sub string, claim any) *visitor {
	t.Helper()
	claims := jwt.MapClaims{"sub": sub, "exp": time.Now().Add(time.Hour).Unix()}
	if claim != nil {
		claims["topics"] = claim
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(aSecret))
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{sub, token, claim}
}

// context has the token as metadata.
func (v *visitor) context(ctx context.Context) context.Context {
	if v.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+v.token)
}

// system is an edge, alerts and a history.
type system struct {
	*testing.T
	addr, api string // Of clients, and of the back office.
	conn      *grpc.ClientConn
	alerts    http.Handler
	alertConn *grpc.ClientConn
	history   http.Handler
	ids       map[string]int64 // Of the alert of each user.
}

// startSystem runs all of it. With tokens the variable of the secret has to be set.
func startSystem(t *testing.T, args ...string) *system {
	t.Helper()
	addr, conn, said := withOffice(t, append([]string{"-grpc-api", "-list-topics", "source", "-command-rate", "0", "-subscribe-rate", "0", "-max-valueless", "0",
		"-new-topics-rate-per-ip", "0", "-fetch-timeout", "100ms", "-interval", "100ms"}, args...)...)
	s := &system{T: t, addr: addr, conn: conn, api: regexp.MustCompile(`back office open" addr=(\S+)`).FindStringSubmatch(said.String())[1]}
	s.publish()
	return s
}

// publish gives each private name, and the public one, a value.
func (s *system) publish() {
	s.Helper()
	p, err := backofficev1.NewBackOfficeClient(s.conn).Publish(officeKey(s.Context()))
	if err != nil {
		s.Fatal(err)
	}
	values := map[string]string{public: secretOf(""), newest: "nothing"}
	for _, sub := range subs {
		values[nameOf(sub)] = secretOf(sub)
	}
	for name, text := range values {
		err := p.Send(&backofficev1.PublishRequest{Topic: name, Value: fmt.Appendf(nil, `{"is":%q}`, text)})
		if err != nil {
			s.Fatal(err)
		}
		if r, err := p.Recv(); err != nil || r.GetResult() != backofficev1.Result_RESULT_TAKEN {
			s.Fatalf("%v %v", r, err)
		}
	}
}

// hold has the edge hold the name of each of these users, so that there is something to be had, and list them if it would.
func (s *system) hold(subs []string, last *visitor) {
	s.Helper()
	for _, sub := range subs {
		v := visit(s.T, sub, nil)
		said, _ := doors["/ws ?topics="].knock(s, v, []string{nameOf(sub), public})
		if !strings.Contains(said, secretOf(sub)) {
			s.Fatalf("%s has not what is its own: %s", v, said)
		}
	}
	doors["/ws ?topics="].knock(s, last, []string{newest, public})
	redistest.Eventually(s.T, "the list of names is of after that", func() bool {
		_, page := s.get(last, s.addr, "/topics?prefix="+newest)
		return strings.Contains(page, newest)
	})
}

// verifier is one of the same tokens as the edge's.
func verifier(t *testing.T) (*auth.Verifier, *auth.Private) {
	t.Helper()
	private, err := auth.ParsePrivate(auth.DefaultPrivate)
	if err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.New(t)
	v, err := auth.NewVerifier(auth.Config{Secret: []byte(aSecret), Private: private}, log)
	if err != nil {
		t.Fatal(err)
	}
	return v, private
}

// many is more requests than a test makes.
var many = guard.Rate{PerSecond: guard.RateMax, Burst: guard.RateMax}

// startAlerts serves alerts of each user, which have fired.
func (s *system) startAlerts() {
	s.Helper()
	log, _ := logtest.New(s.T)
	store, err := alertpebble.Open(alertpebble.Config{Dir: s.TempDir(), Log: log})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = store.Close() })
	v, private := verifier(s.T)
	api, err := alertapi.New(alertapi.Config{Store: store, Verifier: v, Private: private, Origins: new(auth.Origins), Rate: many, Log: log})
	if err != nil {
		s.Fatal(err)
	}
	s.alerts, s.ids = api, make(map[string]int64)
	var fired []alert.Firing
	for i, sub := range subs {
		target, err := alert.ParseNum("1")
		if err != nil {
			s.Fatal(err)
		}
		spec := alert.Spec{Symbol: "AAPL", Condition: alert.Above, Target: target, Note: secretOf(sub)}
		a, _, err := store.Create(s.Context(), sub, "", spec, alert.Unknown, 1, 10)
		if err != nil {
			s.Fatal(err)
		}
		s.ids[sub] = a.ID
		price, err := alert.ParseNum(priceOf(i))
		if err != nil {
			s.Fatal(err)
		}
		fired = append(fired, alert.Firing{Alert: a.ID, Arm: a.Arm, At: 5, Price: price, By: alert.ByPrice})
	}
	if _, err := store.Fire(s.Context(), fired, 6); err != nil {
		s.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	r, methods := grpc.NewServer(), alertgrpc.New(api.Service)
	methods.Register(r)
	go func() { _ = r.Serve(ln) }() // It ends with Stop.
	s.Cleanup(r.Stop)
	if s.alertConn, err = grpc.NewClient("passthrough:///"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = s.alertConn.Close() })
}

// priceOf is the price at which the alert of a user has fired: it is in no other answer.
func priceOf(i int) string { return fmt.Sprintf("7777%04d.25", i) }

// startHistory serves bars of the public name.
func (s *system) startHistory() {
	s.Helper()
	log, _ := logtest.New(s.T)
	v, private := verifier(s.T)
	symbol, minute, store := historytest.Symbol(public, 2, 8), historytest.Interval("1m"), new(historytest.Fake)
	if err := store.Put(s.Context(), historytest.Run(symbol, minute, 0, 3)); err != nil {
		s.Fatal(err)
	}
	var err error
	s.history, err = history.NewServer(history.ServerConfig{
		Store: store, Verifier: v, Private: private, Origins: new(auth.Origins), Rate: many, Log: log, Intervals: []*bars.Interval{minute},
		Symbol: func(string) *trade.Symbol { return nil },
	})
	if err != nil {
		s.Fatal(err)
	}
}

// ask asks a handler inside of the test. It returns the status, and all that was said.
func ask(h http.Handler, v *visitor, target string) (code int, said string) {
	r := httptest.NewRequest("GET", target, nil)
	r.Host = "127.0.0.1"
	if v.token != "" {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// open asks for a URL.
func (s *system) open(ctx context.Context, v *visitor, url string) *http.Response {
	s.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		s.Fatal(err)
	}
	if v.token != "" {
		req.Header.Set("Authorization", "Bearer "+v.token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	return res
}

// get asks a port.
func (s *system) get(v *visitor, addr, target string) (code int, said string) {
	s.Helper()
	res := s.open(s.Context(), v, "http://"+addr+target)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// list is names as a query has them.
func list(names []string) string {
	escaped := make([]string, len(names))
	for i, name := range names {
		escaped[i] = url.QueryEscape(name)
	}
	return strings.Join(escaped, ",")
}

// gist is what of any message of the edge says which names were refused.
type gist struct {
	T                 string
	Rejected, Missing []struct {
		Topic string
		Index *int
		Code  int
	}
}

// refusals adds the names that a message refuses.
func (g *gist) refusals(names []string, to map[string]int) {
	for _, r := range append(g.Rejected, g.Missing...) {
		if r.Topic == "" && r.Index != nil {
			r.Topic = names[*r.Index]
		}
		to[r.Topic] = r.Code
	}
}

// enough reports whether what was said has the value of the public name, and of the visitor's own if that was asked for.
func enough(v *visitor, names []string, said string) bool {
	own := v.sub != "" && slices.Contains(names, nameOf(v.sub))
	return strings.Contains(said, secretOf("")) && (!own || strings.Contains(said, secretOf(v.sub)))
}

// follow reads messages until one has acknowledged the names, and all is there that is to come. As rows of topics that were asked
// for together come together where the edge holds them, that is all there is.
func follow(v *visitor, names []string, next func() ([]byte, error)) (said string, refused map[string]int) {
	refused = make(map[string]int)
	for acked := false; !acked || !enough(v, names, said); {
		text, err := next()
		if err != nil {
			return said + err.Error(), refused
		}
		var g gist
		_ = json.Unmarshal(text, &g) // Other lines are none.
		g.refusals(names, refused)
		acked = acked || g.T == "ack"
		said += string(text)
	}
	return said, refused
}

// byWebSocket opens one that stays until the test ends.
func (s *system) byWebSocket(v *visitor, query string) (ws *websocket.Conn, next func() ([]byte, error)) {
	s.Helper()
	if v.token != "" {
		query += "&token=" + v.token
	}
	ws, _, err := websocket.Dial(s.Context(), "ws://"+s.addr+"/ws?"+query, nil)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = ws.CloseNow() })
	return ws, func() ([]byte, error) {
		ctx, cancel := context.WithTimeout(s.Context(), redistest.Patience)
		defer cancel()
		_, text, err := ws.Read(ctx)
		return text, err
	}
}

// byEvents opens a stream of events that ends with the test.
func (s *system) byEvents(v *visitor, names []string) (next func() ([]byte, error)) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), redistest.Patience)
	s.Cleanup(cancel)
	res := s.open(ctx, v, "http://"+s.addr+"/sse?topics="+list(names))
	s.Cleanup(func() { _ = res.Body.Close() })
	lines := bufio.NewReader(res.Body)
	return func() ([]byte, error) {
		line, err := lines.ReadString('\n')
		return []byte(strings.TrimPrefix(line, "data: ")), err
	}
}

// alertsClient is of gRPC.
func (s *system) alertsClient() alertsv1.AlertsServiceClient {
	return alertsv1.NewAlertsServiceClient(s.alertConn)
}
