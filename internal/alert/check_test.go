// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSpec(t *testing.T) {
	const now = 1_700_000_000_000
	for _, in := range []string{
		`{"symbol":"AAPL","condition":"ABOVE","target_price":150}`,
		`{"symbol":"AAPL","condition":"CROSSES","target_price":0.000001,"repeat":true,"hysteresis":0.5,"expires":1700000000001,"note":"sell ä"}`,
		`{"symbol":"BTC-USD","condition":"FALLS","percent":5,"window":"5m"}`,
		`{"symbol":"BTC-USD","condition":"RISES","percent":0.5,"window":"1d"}`,
		`{"symbol":"BTC-USD","condition":"BELOW_AVERAGE","interval":"1h","bars":200}`,
	} {
		var s Spec
		if err := json.Unmarshal([]byte(in), &s); err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if err := s.Check(now); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		out, _ := json.Marshal(s)
		var back Spec
		if err := json.Unmarshal(out, &back); err != nil || back != s {
			t.Errorf("%s is written as %s, and read as %+v, %v", in, out, back, err)
		}
		if len(out) != len(in) {
			t.Errorf("%s is written as %s", in, out)
		}
	}
	for in, want := range map[string]string{
		`{"symbol":"A B","condition":"ABOVE","target_price":150}`:                                       "symbol:",
		`{"symbol":"A","condition":"above","target_price":150}`:                                         "condition:",
		`{"symbol":"A","condition":"ABOVE"}`:                                                            "target_price:",
		`{"symbol":"A","condition":"ABOVE","target_price":-1}`:                                          "target_price:",
		`{"symbol":"A","condition":"ABOVE","target_price":1,"percent":1}`:                               "percent:",
		`{"symbol":"A","condition":"ABOVE","target_price":1,"window":"5m"}`:                             "window:",
		`{"symbol":"A","condition":"ABOVE","target_price":1,"bars":20}`:                                 "bars:",
		`{"symbol":"A","condition":"ABOVE","target_price":1,"hysteresis":1}`:                            "hysteresis:",
		`{"symbol":"A","condition":"ABOVE","target_price":1,"repeat":true,"hysteresis":100}`:            "hysteresis:",
		`{"symbol":"A","condition":"ABOVE","target_price":1,"expires":1700000000000}`:                   "expires:",
		`{"symbol":"A","condition":"ABOVE","target_price":1,"note":"a\nb"}`:                             "note:",
		`{"symbol":"A","condition":"RISES","window":"5m"}`:                                              "percent:",
		`{"symbol":"A","condition":"RISES","percent":10001,"window":"5m"}`:                              "percent:",
		`{"symbol":"A","condition":"RISES","percent":0.0000001,"window":"5m"}`:                          "percent:",
		`{"symbol":"A","condition":"RISES","percent":5,"window":"7m"}`:                                  "window:",
		`{"symbol":"A","condition":"RISES","percent":5}`:                                                "window:",
		`{"symbol":"A","condition":"RISES","target_price":5,"percent":5,"window":"5m"}`:                 "target_price:",
		`{"symbol":"A","condition":"ABOVE_AVERAGE","percent":5,"interval":"2m","bars":20}`:              "interval:",
		`{"symbol":"A","condition":"ABOVE_AVERAGE","percent":5,"interval":"1m","bars":21}`:              "bars:",
		`{"symbol":"A","condition":"ABOVE","target_price":"abc"}`:                                       "decimal number",
		`{"symbol":"A","condition":"ABOVE","target_price":1,"note":"` + strings.Repeat("x", 201) + `"}`: "note:",
	} {
		var s Spec
		err := json.Unmarshal([]byte(in), &s)
		if err == nil {
			err = s.Check(now)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}
