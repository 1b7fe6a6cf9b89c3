// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"bytes"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"

	"tickedge/internal/admin"
	"tickedge/internal/auth"
)

const (
	// KeyMin is how many characters a key has at least.
	KeyMin = 32
	// keysMax and keyFileMax bound the file of keys.
	keysMax    = 100
	keyFileMax = 64 << 10
)

// Files is how many files a port has open at most: its connections, its listener, and what is read when it starts.
const Files = admin.Files + 2

// Config says where a back office listens, and who may call it.
type Config struct {
	Addr  string // host:port.
	Names admin.Names

	KeyFile  string // A line name:key each. Empty lines, and those that begin with #, are passed over.
	TLSCert  string // With TLSKey: the port has TLS.
	TLSKey   string
	ClientCA string // Who shows a certificate of these authorities may call. It needs TLSCert.
}

// key is one key of the file. What is kept of it is its hash, so that all comparisons are of one length.
type key struct {
	name string
	hash [32]byte
}

var keyName = regexp.MustCompile(`^[A-Za-z0-9_.@-]{1,64}$`)

// Validate returns what is wrong with c, or nil. It reads the files. The error shows no key.
func (c *Config) Validate() error {
	_, _, err := c.load()
	return err
}

// load reads the files. The tls.Config is nil for plain HTTP.
func (c *Config) load() (keys Keys, secure *tls.Config, err error) {
	if c.KeyFile == "" && c.ClientCA == "" {
		return nil, nil, errors.New("api has nobody who may call it: want -api-key-file with a line name:key for each caller, " +
			"or -api-client-ca (with -api-tls-cert and -api-tls-key)")
	}
	if c.KeyFile != "" {
		if keys, err = ReadKeys(c.KeyFile); err != nil {
			return nil, nil, fmt.Errorf("api key file: %w", err)
		}
	}
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return nil, nil, errors.New("api TLS certificate: want both -api-tls-cert and -api-tls-key, or neither")
	case c.TLSCert == "" && c.ClientCA != "":
		return nil, nil, errors.New("api client authorities need TLS: want -api-tls-cert and -api-tls-key beside them")
	case c.TLSCert == "" && !Loopback(c.Addr):
		return nil, nil, errors.New("api address is not loopback, and keys would be sent there in the clear: want one such as 127.0.0.1:8082, " +
			"or -api-tls-cert and -api-tls-key")
	case c.TLSCert == "":
		return keys, nil, nil
	}
	secure, err = c.loadTLS()
	return keys, secure, err
}

func (c *Config) loadTLS() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("api TLS certificate: %w", err)
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	if c.ClientCA == "" {
		return secure, nil
	}
	if err := auth.AskCertificates(secure, c.ClientCA, c.KeyFile != ""); err != nil {
		return nil, fmt.Errorf("api client authorities: %w", err)
	}
	return secure, nil
}

// Loopback reports whether only this host reaches an address.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Keys are those of a file.
type Keys []key

// Find returns whose key it is. All keys are compared, each in the same time.
func (k Keys) Find(secret []byte) (name string, ok bool) {
	hash, found := hashOf(secret), -1
	for i := range k {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash[:], k[i].hash[:]), i, found)
	}
	if found < 0 {
		return "", false
	}
	return k[found].name, true
}

// ReadKeys reads a file of keys: a line name:key each; empty lines, and those that begin with #, are passed over. Its errors name
// lines, and nothing of what is in them.
func ReadKeys(file string) (keys Keys, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(text) > keyFileMax {
		return nil, fmt.Errorf("%s has more than %d bytes", file, keyFileMax)
	}
	names, hashes := map[string]bool{}, map[[32]byte]bool{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		name, secret, ok := bytes.Cut(line, []byte(":"))
		if secret = bytes.TrimSpace(secret); !ok || !keyName.Match(name) {
			return nil, fmt.Errorf("line %d: want name:key with a name of letters, digits and _.@-", n)
		}
		if len(secret) < KeyMin || !printable(secret) {
			return nil, fmt.Errorf("line %d: want a key of %d characters or more without blanks, such as openssl rand -hex 32 prints", n, KeyMin)
		}
		k := key{string(name), hashOf(secret)}
		if names[k.name] || hashes[k.hash] {
			return nil, fmt.Errorf("line %d: the name or the key was there before", n)
		}
		names[k.name], hashes[k.hash] = true, true
		keys = append(keys, k)
	}
	if len(keys) == 0 || len(keys) > keysMax {
		return nil, fmt.Errorf("%s has %d keys, want 1 to %d", file, len(keys), keysMax)
	}
	return keys, nil
}

func printable(key []byte) bool {
	for _, b := range key {
		if b <= ' ' || b > '~' {
			return false
		}
	}
	return true
}
