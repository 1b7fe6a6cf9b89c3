// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"net/netip"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"tickedge/internal/auth"
	"tickedge/internal/guard"
)

// caller is who calls a method, and what it may have.
type caller struct {
	prefix  guard.Prefix
	user    string    // Empty for who has no token.
	expires time.Time // When the token ends; zero for never.
	grant   auth.Grant
	tokenID uint64 // Of the token, as is issued: see [auth.Claims].
	issued  uint32
}

// identify says who calls. The error is a status.
//
// A token comes in the metadata, as authorization: Bearer. Where tokens are asked for, who has shown
// a certificate of the operator's authorities may come without one, and then has all names that are
// not private. A token that is brought is looked at in any case.
func (s *Server) identify(ctx context.Context) (*caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	p, _ := peer.FromContext(ctx)
	if p == nil || p.Addr == nil {
		return nil, status.Error(codes.Internal, "the peer has no address")
	}
	remote, _ := netip.ParseAddrPort(p.Addr.String())
	who := &caller{prefix: guard.PrefixOf(s.cfg.Trusted.ClientAddr(remote.Addr(), md.Get("x-forwarded-for")))}
	who.grant.Private = s.cfg.Private
	verifier := s.set.Load().verifier
	if verifier == nil {
		return who, nil
	}
	fields := md.Get("authorization")
	if len(fields) > 1 {
		return nil, status.Error(codes.InvalidArgument, "more than one authorization came: one token is wanted")
	}
	var token []byte
	if len(fields) == 1 {
		token, _ = auth.Bearer([]byte(fields[0]))
	}
	if len(token) == 0 && certified(p) {
		return who, nil
	}
	claims, why := verifier.VerifyFrom(who.prefix, token, time.Now(), s.wrongTokens)
	if why != 0 {
		s.counts.tokens[why].Add(1)
		return nil, status.Error(tokenCode(why), why.Error())
	}
	who.user, who.expires = claims.User, claims.Expires
	who.grant.User, who.grant.Topics = claims.User, claims.Topics
	who.tokenID, who.issued = claims.ID, claims.Issued
	return who, nil
}

// isRevoked reports whether the token was revoked since it was verified.
func (s *Server) isRevoked(who *caller) bool {
	return who.user != "" && s.cfg.Verifier.Revocations().Has(who.user, who.tokenID, who.issued)
}

// certified reports whether a peer has shown a certificate that was verified.
func certified(p *peer.Peer) bool {
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return ok && len(info.State.VerifiedChains) > 0
}

// tokenCode is the code that goes with a token that is refused.
func tokenCode(why auth.Reason) codes.Code {
	switch why.Status() {
	case 503:
		return codes.Unavailable
	case 429:
		return codes.ResourceExhausted
	}
	return codes.Unauthenticated
}
