// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// triesMax bounds the signatures that are computed for one token that does not
	// say which key it is signed with.
	triesMax = 4
	// keysMax bounds the keys of a set. Issuers have two or three, some a dozen.
	keysMax = 64
	// keyFileMax bounds a file of keys or a secret. A public key has less than 2 KiB.
	keyFileMax = 1 << 20
	// An RSA key is at least as long as RFC 7518, 3.3, asks for, and not so long that
	// its verification holds up a loop: at 4096 bits that takes 0.5 ms.
	rsaBitsMin = 2048
	rsaBitsMax = 4096
)

// key is one key that tokens may be signed with.
type key struct {
	id       string              // Its kid. Empty fits every token.
	methods  []jwt.SigningMethod // The algorithms that it is for, and no other.
	material any                 // A []byte or a public key, of the type that these want.
}

// algs are the names of the key's algorithms.
func (k *key) algs() []string {
	names := make([]string, len(k.methods))
	for i, m := range k.methods {
		names[i] = m.Alg()
	}
	return names
}

// keySet is the keys at a time. It does not change.
type keySet struct {
	keys    []key
	fetched time.Time // When its fetch began; zero if it was not fetched.
}

// secretMin is the length of a secret for HS256, in bytes: that of the hash, "or
// larger" (RFC 7518, 3.2). A shorter one can be guessed from one token, offline.
const secretMin = 32

func checkSecret(secret []byte) error {
	if len(secret) < secretMin {
		return fmt.Errorf("it has %d bytes, want at least %d random ones (RFC 7518, 3.2): openssl rand -hex %d", len(secret), secretMin, secretMin)
	}
	if bytes.HasPrefix(secret, []byte("-----BEGIN ")) {
		return errors.New("it is PEM, which is no secret: if it is a public key, give it as the key file")
	}
	return nil
}

// secretKey returns the key of a secret that checkSecret has passed.
func secretKey(secret []byte) key {
	k := key{methods: []jwt.SigningMethod{jwt.SigningMethodHS256}, material: bytes.Clone(secret)}
	if len(secret) >= 48 {
		k.methods = append(k.methods, jwt.SigningMethodHS384)
	}
	if len(secret) >= 64 {
		k.methods = append(k.methods, jwt.SigningMethodHS512)
	}
	return k
}

// publicKey returns the key of a public key, with every algorithm that it can be for.
func publicKey(id string, public any) (key, error) {
	k := key{id: id, material: public}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if n := p.N.BitLen(); n < rsaBitsMin || n > rsaBitsMax {
			return key{}, fmt.Errorf("an RSA key of %d bits, want %d to %d", n, rsaBitsMin, rsaBitsMax)
		}
		k.methods = []jwt.SigningMethod{
			jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512,
			jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512,
		}
	case *ecdsa.PublicKey:
		switch p.Curve.Params().BitSize {
		case 256:
			k.methods = []jwt.SigningMethod{jwt.SigningMethodES256}
		case 384:
			k.methods = []jwt.SigningMethod{jwt.SigningMethodES384}
		case 521:
			k.methods = []jwt.SigningMethod{jwt.SigningMethodES512}
		default:
			return key{}, fmt.Errorf("an EC key on %s, want P-256, P-384 or P-521", p.Curve.Params().Name)
		}
	case ed25519.PublicKey:
		k.methods = []jwt.SigningMethod{jwt.SigningMethodEdDSA}
	default:
		return key{}, fmt.Errorf("a key of type %T, want RSA, EC or Ed25519", public)
	}
	return k, nil
}

// ValidateFiles reads the file that c names, if there is one, and returns what is wrong with it,
// or nil.
func (c Config) ValidateFiles() error {
	if c.SecretFile == "" && c.KeyFile == "" {
		return nil
	}
	_, err := readKeys(c)
	return err
}

// readKeys returns the keys of a Config that has no URL.
func readKeys(cfg Config) ([]key, error) {
	if cfg.KeyFile != "" {
		text, err := readFile(cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("token key file: %w", err)
		}
		keys, err := parsePEM(text)
		if err != nil {
			return nil, fmt.Errorf("token key file %s: %w", cfg.KeyFile, err)
		}
		return keys, nil
	}
	secret := withoutLineEnd(cfg.Secret)
	if cfg.SecretFile != "" {
		text, err := readFile(cfg.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("token secret file: %w", err)
		}
		secret = withoutLineEnd(text)
		if err := checkSecret(secret); err != nil {
			return nil, fmt.Errorf("token secret file %s: %w", cfg.SecretFile, err)
		}
	}
	return []key{secretKey(secret)}, nil
}

// withoutLineEnd leaves out one line end, which an editor or a shell has put there: \n or \r\n.
func withoutLineEnd(text []byte) []byte {
	if line, ends := bytes.CutSuffix(text, []byte("\n")); ends {
		return bytes.TrimSuffix(line, []byte("\r"))
	}
	return text
}

// readFile reads a file of at most keyFileMax.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, keyFileMax+1))
	if err != nil {
		return nil, err
	}
	if len(text) > keyFileMax {
		return nil, fmt.Errorf("%s is longer than %d KiB", name, keyFileMax>>10)
	}
	return text, nil
}

// parsePEM returns the public keys of a PEM text, in its order. They have no kid.
func parsePEM(text []byte) ([]key, error) {
	var keys []key
	for n := 1; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		public, err := parseBlock(block)
		if err != nil {
			return nil, fmt.Errorf("block %d (%s): %w", n, block.Type, err)
		}
		k, err := publicKey("", public)
		if err != nil {
			return nil, fmt.Errorf("block %d (%s): %w", n, block.Type, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("no PEM block in it, want -----BEGIN PUBLIC KEY----- or CERTIFICATE")
	}
	// One that is never tried would refuse good tokens.
	for _, k := range keys {
		same := 0
		for _, other := range keys {
			if slices.Equal(k.methods, other.methods) {
				same++
			}
		}
		if same > triesMax {
			return nil, fmt.Errorf("%d keys for %s, want at most %d: a token does not say which of them it is signed with", same, k.methods[0].Alg(), triesMax)
		}
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("this is the issuer's private half, which the edge must not have: openssl pkey -pubout makes the public one of it")
	}
	return nil, errors.New("want PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE")
}
