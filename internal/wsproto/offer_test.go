// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"tickedge/internal/httphead"
)

// RFC 6455, 4.2.2: the edge chooses one of what is offered, or none. What brings a token is
// never chosen.
func TestParseOffer(t *testing.T) {
	const field, twice = "Sec-WebSocket-Protocol: ", "a token comes once"
	for _, tt := range []struct {
		fields        []string
		chosen, token string
		has           bool
		refusal       string
	}{
		{nil, "", "", false, ""},
		{[]string{""}, "", "", false, ""},
		{[]string{"chat, superchat"}, "", "", false, ""},
		{[]string{"tickedge.v1"}, "tickedge.v1", "", false, ""},
		{[]string{"chat,tickedge.v1"}, "tickedge.v1", "", false, ""},
		{[]string{"tickedge.v2,tickedge.v1x,xtickedge.v1"}, "", "", false, ""},
		{[]string{"TickEdge.V1"}, "", "", false, ""},
		{[]string{"tickedge.v1, bearer.a.b-c_d"}, "tickedge.v1", "a.b-c_d", true, ""},
		{[]string{"bearer.a.b.c,tickedge.v1"}, "tickedge.v1", "a.b.c", true, ""},
		{[]string{"bearer.a.b.c", "tickedge.v1"}, "tickedge.v1", "a.b.c", true, ""},
		{[]string{"tickedge.v1", "x", "\t bearer.a.b.c ,, y"}, "tickedge.v1", "a.b.c", true, ""},
		{[]string{"tickedge.v1,bearer."}, "tickedge.v1", "", true, ""},
		{[]string{"tickedge.v1,Bearer.a,bearer"}, "tickedge.v1", "", false, ""},
		{[]string{"tickedge.v1,tickedge.v1,bearer.a"}, "tickedge.v1", "a", true, ""},
		{[]string{"bearer.a.b.c"}, "", "", false, "offer tickedge.v1 too"},
		{[]string{"bearer.a.b.c, chat"}, "", "", false, "offer tickedge.v1 too"},
		{[]string{"bearer."}, "", "", false, "offer tickedge.v1 too"},
		{[]string{"tickedge.v1,bearer.a,bearer.b"}, "", "", false, twice},
		{[]string{"bearer.a", "tickedge.v1", "bearer.a"}, "", "", false, twice},
		{[]string{"tickedge.v1,bearer.,bearer.a"}, "", "", false, twice},
	} {
		fields := upgradeFields
		for _, list := range tt.fields {
			fields = append(fields[:len(fields):len(fields)], field+list)
		}
		head := headOf("GET /ws HTTP/1.1", fields...)
		req, r := httphead.ParseRequest(head)
		if r != nil {
			t.Fatalf("%q: %+v", tt.fields, r)
		}
		o, r := ParseOffer(&req)
		if tt.refusal != "" {
			if r == nil || r.Status != 400 || !strings.Contains(r.Reason, tt.refusal) || strings.ContainsAny(r.Reason, "\r\n") {
				t.Errorf("%q: %+v, want %q", tt.fields, r, tt.refusal)
			}
			continue
		}
		if r != nil || o.Chosen != tt.chosen || string(o.Token) != tt.token || o.HasToken != tt.has {
			t.Errorf("%q: %+v %+v", tt.fields, o, r)
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(AppendUpgrade(nil, &req, o.Chosen))), nil)
		if err != nil || res.Header.Get("Sec-WebSocket-Accept") != rfcAccept || res.Header.Get("Sec-WebSocket-Protocol") != tt.chosen ||
			len(res.Header["Sec-Websocket-Protocol"]) > 1 || res.Header["Sec-Websocket-Protocol"] != nil && tt.chosen == "" {
			t.Errorf("%q: answered with %+v (%v)", tt.fields, res, err)
		}
	}
}
