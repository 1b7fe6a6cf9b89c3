// SPDX-License-Identifier: Apache-2.0

package auth

// Reason says why a token was refused. It is the error of [Verifier.Verify]. Its text
// is for the client's developer and the same for every token, so it may be sent and
// logged. Reasons are numbered from 1 to [Reasons]-1, for counters.
type Reason uint8

// The reasons, in the order in which a token is looked at.
const (
	Missing Reason = iota + 1
	TooLong
	NotReady
	Malformed
	WrongType
	Critical
	WrongAlgorithm
	UnknownKey
	KeysPending
	TooManyWrong
	BadSignature
	BadTime
	NoExpiry
	Expired
	NotYet
	WrongIssuer
	WrongAudience
	BadUser
	BadTopics
	Revoked

	Reasons // One more than the last.
)

// reasonTable has no quote and no backslash in a text: RFC 6750, section 3, does not
// allow them in error_description.
var reasonTable = [Reasons]struct{ label, text string }{
	Missing:        {"missing", "a token is wanted: Authorization: Bearer, the sub-protocols tickedge.v1 and bearer.TOKEN, or ?token="},
	TooLong:        {"too_long", "the token is longer than 8 KiB"},
	NotReady:       {"not_ready", "the edge has no keys for tokens yet: try again"},
	Malformed:      {"malformed", "the token is not a JWT: three parts, the first of at most 1 KiB, no name twice, sub a string, exp and nbf numbers"},
	WrongType:      {"wrong_type", "the type of the token (typ) is not one that is taken here"},
	Critical:       {"critical", "the token has a crit header, and no extension is understood here"},
	WrongAlgorithm: {"wrong_algorithm", "the alg of the token does not go with a key of the edge"},
	UnknownKey:     {"unknown_key", "the key of the token (kid) is not known"},
	KeysPending:    {"keys_pending", "the key of the token (kid) is not known yet: try again"},
	TooManyWrong:   {"too_many_wrong", "too many tokens with wrong signatures came from your address: try again later"},
	BadSignature:   {"bad_signature", "the signature of the token is wrong"},
	BadTime:        {"bad_time", "exp or nbf of the token is not a time in seconds since 1970"},
	NoExpiry:       {"no_expiry", "the token has no exp"},
	Expired:        {"expired", "the token has expired"},
	NotYet:         {"not_yet", "the token is not valid yet (nbf)"},
	WrongIssuer:    {"wrong_issuer", "the token is from another issuer (iss)"},
	WrongAudience:  {"wrong_audience", "the token is for another audience (aud)"},
	BadUser:        {"bad_user", "sub of the token is not 1 to 255 bytes without control characters"},
	BadTopics:      {"bad_topics", "the topics claim of the token is not a list of at most 1000 topic names, each with or without * at its end"},
	Revoked:        {"revoked", "the token has been revoked"},
}

// Error is the text for the client.
func (r Reason) Error() string { return reasonTable[r].text }

// Label is the reason in metrics.
func (r Reason) Label() string { return reasonTable[r].label }

// Status is 401 if the client needs another token. It is 503 if it is to come back with the same
// one, as the edge has no keys yet, or is about to fetch newer ones, and 429 if it was not looked at.
func (r Reason) Status() int {
	switch r {
	case NotReady, KeysPending:
		return 503
	case TooManyWrong:
		return 429
	}
	return 401
}

// retryAfter is what a 429 asks of clients, in seconds: by then one more is due.
const retryAfter = "2"

// Header returns the header lines, each with its CRLF, that go with an HTTP answer of
// Status (RFC 6750, 3; RFC 9110, 10.2.3 and 11.6.1). When to come back after a 503 is for who
// answers to say.
func (r Reason) Header() string {
	switch {
	case r.Status() == 503:
		return ""
	case r.Status() == 429:
		return "Retry-After: " + retryAfter + "\r\n"
	case r == Missing:
		return "WWW-Authenticate: Bearer\r\n"
	}
	return `WWW-Authenticate: Bearer error="invalid_token", error_description="` + r.Error() + "\"\r\n"
}
