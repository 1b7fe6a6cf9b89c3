// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

var _ jwt.Claims = (*payload)(nil)

// payload is the claims of a token, as package jwt wants them.
type payload struct {
	Exp  *float64                  `json:"exp"`
	Nbf  *float64                  `json:"nbf"`
	Iss  string                    `json:"iss"`
	Sub  string                    `json:"sub"`
	Aud  jsontext.Value            `json:"aud"`
	Rest map[string]jsontext.Value `json:",inline"`
}

// GetExpirationTime and the others implement [jwt.Claims].
func (p *payload) GetExpirationTime() (*jwt.NumericDate, error) { return numericDate(p.Exp) }
func (p *payload) GetNotBefore() (*jwt.NumericDate, error)      { return numericDate(p.Nbf) }
func (p *payload) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil } // Never asked for.
func (p *payload) GetIssuer() (string, error)                   { return p.Iss, nil }
func (p *payload) GetSubject() (string, error)                  { return p.Sub, nil }

// GetAudience returns aud, which is a string or a list of strings (RFC 7519, 4.1.3).
func (p *payload) GetAudience() (list jwt.ClaimStrings, err error) {
	var one string
	if json.Unmarshal(p.Aud, &one) == nil {
		return jwt.ClaimStrings{one}, nil
	}
	if json.Unmarshal(p.Aud, &list) != nil {
		return nil, WrongAudience
	}
	return list, nil
}

// named reports whether the token says whom it is for.
func (p *payload) named() bool { return len(p.Aud) > 0 && p.Aud.Kind() != 'n' }

// numericDate makes a time of seconds, whole ones as package jwt does.
func numericDate(seconds *float64) (*jwt.NumericDate, error) {
	if seconds == nil {
		return nil, nil
	}
	if *seconds < 0 || *seconds > timeMax {
		return nil, BadTime
	}
	return jwt.NewNumericDate(time.Unix(int64(*seconds), 0)), nil
}

// validUser checks a sub. That it is UTF-8 was checked when it was parsed.
func validUser(s string) bool {
	return len(s) > 0 && len(s) <= userMax && strings.IndexFunc(s, unicode.IsControl) < 0
}

// parseTopics parses the claim that limits topics.
func parseTopics(value jsontext.Value, private *Private) (*Patterns, bool) {
	if value.Kind() != '[' { // A null would unmarshal too, and an empty set is not what it says.
		return nil, false
	}
	var list []string
	if json.Unmarshal(value, &list) != nil {
		return nil, false
	}
	return newPatterns(list, private)
}
