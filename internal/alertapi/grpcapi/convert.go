// SPDX-License-Identifier: Apache-2.0

package grpcapi

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	alertsv1 "tickedge/gen/tickedge/alerts/v1"
	"tickedge/internal/alert"
	"tickedge/internal/alertapi"
)

// The names of the enums are those of package alert behind these.
const (
	conditionPrefix = "CONDITION_"
	statePrefix     = "STATE_"
	byPrefix        = "FIRED_BY_"
)

// inputOf is what a request says of an alert.
func inputOf(user string, s *alertsv1.Spec) (*alertapi.Input, error) {
	in := &alertapi.Input{User: user, Spec: alert.Spec{
		Symbol: s.GetSymbol(), Interval: s.GetInterval(), Bars: int(s.GetBars()), Repeat: s.GetRepeat(), Expires: s.GetExpires(),
		Note: s.GetNote(),
	}}
	if c := s.GetCondition(); c != alertsv1.Condition_CONDITION_UNSPECIFIED {
		in.Spec.Condition = alert.Condition(strings.TrimPrefix(c.String(), conditionPrefix))
	}
	for _, of := range []struct {
		name, text string
		to         *alert.Num
	}{
		{"target_price", s.GetTargetPrice(), &in.Spec.Target}, {"percent", s.GetPercent(), &in.Spec.Percent},
		{"hysteresis", s.GetHysteresis(), &in.Spec.Hysteresis},
	} {
		if of.text == "" {
			continue
		}
		n, err := alert.ParseNum(of.text)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "%s: %v", of.name, err)
		}
		*of.to = n
	}
	if w := s.GetWindow(); w != "" {
		window, err := alert.ParseWindow(w)
		if err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
		in.Spec.Window = window
	}
	return in, nil
}

// text has no number for one that is not there.
func text(n alert.Num) string {
	if n == (alert.Num{}) {
		return ""
	}
	return n.String()
}

func alertOf(a *alert.Alert) *alertsv1.Alert {
	m := &alertsv1.Alert{
		Id: a.ID, UserId: a.User, Active: alertapi.IsActive(a), Created: a.Created, Arm: a.Arm, Armed: a.Armed,
		State: alertsv1.State(alertsv1.State_value[statePrefix+strings.ToUpper(string(a.State))]),
		Spec: &alertsv1.Spec{
			Symbol: a.Symbol, Condition: alertsv1.Condition(alertsv1.Condition_value[conditionPrefix+string(a.Condition)]),
			TargetPrice: text(a.Target), Percent: text(a.Percent), Window: alert.WindowName(a.Window), Interval: a.Interval, Bars: int32(a.Bars),
			Repeat: a.Repeat, Hysteresis: text(a.Hysteresis), Expires: a.Expires, Note: a.Note,
		},
	}
	if a.Last.Number > 0 {
		m.Fired = firingOf(&a.Last)
	}
	return m
}

func firingOf(f *alert.Firing) *alertsv1.Firing {
	return &alertsv1.Firing{
		N: f.Number, Alert: f.Alert, Arm: f.Arm, At: f.At, Price: f.Price.String(),
		By: alertsv1.FiredBy(alertsv1.FiredBy_value[byPrefix+strings.ToUpper(string(f.By))]),
	}
}
