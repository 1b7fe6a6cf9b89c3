// SPDX-License-Identifier: Apache-2.0

package alertapi

import (
	"net/http"
	"net/netip"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/auth"
	"tickedge/internal/guard"
)

// Caller is who asks, and what it may have.
type Caller struct {
	user    string // The sub of its token.
	trusted bool   // It names users itself.
	grant   auth.Grant
}

// Prefix is who is counted as one client.
func (s *Service) Prefix(peer netip.Addr, forwarded []string) guard.Prefix {
	if !peer.IsValid() {
		return 0
	}
	return guard.PrefixOf(s.cfg.Trusted.ClientAddr(peer, forwarded))
}

// Admit counts a request of a client.
func (s *Service) Admit(client guard.Prefix, now time.Time) *Fault {
	if !s.rate.Take(client, now) {
		return retry(http.StatusTooManyRequests, 1, "too many requests from your address, try again later")
	}
	return nil
}

// Identify says who asks, by the fields of authorization that came. Keys come before the limit of wrong ones: who shares an
// address with somebody that guesses is let in.
func (s *Service) Identify(client guard.Prefix, authorization []string, now time.Time) (*Caller, *Fault) {
	who := &Caller{trusted: true, grant: auth.Grant{Private: s.cfg.Private}}
	if s.cfg.Open {
		return who, nil
	}
	if len(authorization) > 1 {
		return nil, &Fault{Status: http.StatusBadRequest, Detail: "more than one Authorization came: want one", final: true}
	}
	var bearer []byte
	if len(authorization) == 1 {
		bearer, _ = auth.Bearer([]byte(authorization[0]))
	}
	switch {
	case len(bearer) == 0:
		return nil, &Fault{
			Status: http.StatusUnauthorized, Header: auth.Missing.Header(), Detail: "want Authorization: Bearer with a token or a key",
		}
	case s.cfg.Keys != nil && len(bearer) <= auth.TokenMax && s.cfg.Keys(bearer):
		return who, nil
	case s.cfg.Verifier == nil:
		return nil, s.wrongKey(client, now)
	}
	claims, why := s.cfg.Verifier.VerifyFrom(client, bearer, now, s.wrong)
	if why != 0 {
		f := &Fault{Status: why.Status(), Header: why.Header(), Detail: why.Error()}
		if f.Status == http.StatusServiceUnavailable {
			f.Retry = 2
		}
		return nil, f
	}
	who.trusted, who.user = false, claims.User
	who.grant.User, who.grant.Topics = claims.User, claims.Topics
	return who, nil
}

func (s *Service) wrongKey(client guard.Prefix, now time.Time) *Fault {
	if !s.wrong.Take(client, now) {
		return retry(http.StatusTooManyRequests, 2, "too many wrong keys came from your address: try again later")
	}
	return &Fault{Status: http.StatusUnauthorized, Header: "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n",
		Detail: "the key is not one that is taken here: ask the operator for one"}
}

// userOf is whose alerts a caller asks for, if it says so: said is empty where it does not. An empty user is all of them, which
// only trusted callers may have.
func (who *Caller) userOf(said string) (string, *Fault) {
	if who.trusted {
		if said != "" && alert.CheckUser(said) != nil {
			return "", refuse(http.StatusUnprocessableEntity, alert.CheckUser(said).Error())
		}
		return said, nil
	}
	if said != "" && said != who.user {
		return "", refuse(http.StatusForbidden, "user_id is not the sub of your token: leave it out")
	}
	return who.user, nil
}

// oneUser is userOf where it has to be one.
func (who *Caller) oneUser(said string) (string, *Fault) {
	user, f := who.userOf(said)
	if f == nil && user == "" {
		f = refuse(http.StatusUnprocessableEntity, "user_id: it is missing: want whose alert it is, a text or a whole number")
	}
	return user, f
}

// mayWatch refuses a symbol whose topic the caller may not have.
func (who *Caller) mayWatch(symbol string) *Fault {
	if !who.grant.Allows([]byte(symbol)) {
		return refuse(http.StatusForbidden, "the token does not allow "+symbol)
	}
	return nil
}
