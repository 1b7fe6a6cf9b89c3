// SPDX-License-Identifier: Apache-2.0

package alertapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tickedge/internal/alert"
	"tickedge/internal/alertapi"
)

func specOf(t testing.TB, body string) alert.Spec {
	t.Helper()
	in, err := alertapi.ParseInput([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return in.Spec
}

// FuzzInput holds the reader of bodies against that of the standard library, which takes more.
func FuzzInput(f *testing.F) {
	for _, c := range refusals {
		if len(c.body) < 1000 {
			f.Add([]byte(c.body))
		}
	}
	f.Add([]byte(apple))
	f.Add([]byte(`{"user_id":"ann","symbol":"BTC-USD","condition":"FALLS","percent":2.5,"window":"1h","repeat":true,"hysteresis":"1e-6"}`))
	f.Add([]byte(`{"expires":1,"note":"\ud83d\ude00"}`))
	f.Add([]byte(`{"symbol":null,"condition":"ABOVE_AVERAGE","interval":"1h","bars":200}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := alertapi.ParseInput(body)
		if err != nil {
			if in != nil || err.Error() == "" {
				t.Fatalf("%v with %q", in, err)
			}
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("it is taken, and no object: %v", err)
		}
		if in.User != "" && alert.CheckUser(in.User) != nil {
			t.Fatalf("the user is %q", in.User)
		}
		delete(members, "user_id")
		for name, value := range members {
			if string(value) == "null" {
				delete(members, name)
			}
		}
		var want alert.Spec
		rest, _ := json.Marshal(members)
		if err := json.Unmarshal(rest, &want); err != nil {
			t.Fatalf("it is taken, and %s is no spec: %v", rest, err)
		}
		if in.Spec.Bars == 1<<20 {
			in.Spec.Bars = want.Bars
		}
		if in.Spec != want {
			t.Fatalf("%+v, want %+v", in.Spec, want)
		}
		if in.Spec.Check(1) != nil {
			return
		}
		// What may be asked for is written as it was read.
		text, err := json.Marshal(in.Spec)
		if err != nil {
			t.Fatal(err)
		}
		if again := specOf(t, string(text)); again != in.Spec {
			t.Fatalf("%s is read as %+v", text, again)
		}
		if strings.Contains(string(text), "null") && !strings.Contains(in.Spec.Note+in.Spec.Symbol, "null") {
			t.Fatalf("%s", text)
		}
	})
}
