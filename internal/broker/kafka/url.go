// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// upstream is what a URL says.
type upstream struct {
	servers []string // host:port
	tls     *tls.Config
	sasl    sasl.Mechanism
}

const urlForm = "want for example kafka://127.0.0.1:9092 or kafka+tls://user:password@k1:9093,k2:9093?sasl=scram-sha-512"

// Is reports whether a URL is for this package.
func Is(s string) bool {
	scheme, _, _ := strings.Cut(s, "://")
	return strings.EqualFold(scheme, "kafka") || strings.EqualFold(scheme, "kafka+tls")
}

// redact hides the password.
func redact(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return "xxxxx"
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return s
	}
	user, _, _ := strings.Cut(rest[:at], ":")
	return scheme + "://" + user + ":xxxxx" + rest[at:]
}

var (
	urlOptions = []string{"sasl", "tls_ca", "tls_cert", "tls_key"}
	errUser    = errors.New("its user and password can't be read: want user:password@, with all but letters and digits as %XX")
)

// parseURL cuts a URL apart. Its errors repeat nothing of it but the names of options and files.
func parseURL(s string) (*upstream, error) {
	if !Is(s) {
		return nil, errors.New("it is not valid, " + urlForm)
	}
	if strings.ContainsAny(s, " \t\r\n#\"") {
		return nil, errors.New(`it has a blank, # or " in it: write them as %20, %23 and %22`)
	}
	scheme, rest, _ := strings.Cut(s, "://")
	secure := strings.EqualFold(scheme, "kafka+tls")
	hosts, query, _ := strings.Cut(rest, "?")
	if strings.Contains(hosts, "/") {
		return nil, errors.New("it has a / before its options: write it as %2F in a password, and leave it out behind the servers")
	}
	var user *url.Userinfo
	if at := strings.LastIndexByte(hosts, '@'); at >= 0 {
		parsed, err := url.Parse("kafka://" + hosts[:at] + "@host")
		if err != nil || parsed.User == nil || strings.Contains(hosts[:at], "@") {
			return nil, errUser
		}
		if _, has := parsed.User.Password(); !has || parsed.User.Username() == "" {
			return nil, errUser
		}
		user, hosts = parsed.User, hosts[at+1:]
	}
	u := new(upstream)
	for host := range strings.SplitSeq(hosts, ",") {
		if _, _, err := net.SplitHostPort(host); err != nil && host != "" {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "9092")
		}
		name, port, err := net.SplitHostPort(host)
		if n, err2 := net.LookupPort("tcp", port); name == "" || err != nil || err2 != nil || n == 0 {
			return nil, errors.New("a server is not valid, want host or host:port, several with commas between")
		}
		u.servers = append(u.servers, host)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("its options can't be read: write what is no letter or digit as %XX")
	}
	for name, all := range values {
		if !slices.Contains(urlOptions, name) {
			return nil, fmt.Errorf("it has an option that is unknown, want %s", strings.Join(urlOptions, ", "))
		}
		if len(all) > 1 || all[0] == "" {
			return nil, fmt.Errorf("its option %s is there twice, or empty", name)
		}
	}
	return u, errors.Join(u.authenticate(user, values.Get("sasl"), secure), u.secure(values, secure))
}

func (u *upstream) authenticate(user *url.Userinfo, how string, secure bool) error {
	if user == nil {
		if how != "" {
			return errors.New("its option sasl does nothing without user:password@")
		}
		return nil
	}
	name := user.Username()
	password, _ := user.Password()
	auth := scram.Auth{User: name, Pass: password}
	switch how {
	case "", "scram-sha-512":
		u.sasl = auth.AsSha512Mechanism()
	case "scram-sha-256":
		u.sasl = auth.AsSha256Mechanism()
	case "plain":
		if !secure {
			return errors.New("sasl=plain would send the password as it is: want kafka+tls, or one of the scram mechanisms")
		}
		u.sasl = plain.Auth{User: name, Pass: password}.AsMechanism()
	default:
		return errors.New("its option sasl is not valid, want plain, scram-sha-256 or scram-sha-512")
	}
	return nil
}

func (u *upstream) secure(values url.Values, secure bool) error {
	ca, cert, key := values.Get("tls_ca"), values.Get("tls_cert"), values.Get("tls_key")
	if !secure {
		if ca+cert+key != "" {
			return errors.New("its options tls_… do nothing without TLS: want kafka+tls")
		}
		return nil
	}
	if (cert == "") != (key == "") {
		return errors.New("it has one of tls_cert and tls_key, want both")
	}
	u.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return fmt.Errorf("its tls_ca: %w", err)
		}
		if u.tls.RootCAs, err = x509.SystemCertPool(); err != nil {
			u.tls.RootCAs = x509.NewCertPool()
		}
		if !u.tls.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("its tls_ca: %s has no certificate in PEM", ca)
		}
	}
	if cert == "" {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		return fmt.Errorf("its tls_cert and tls_key: %w", err)
	}
	// Read anew for each connection, so that it can be replaced.
	u.tls.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(cert, key)
		return &c, err
	}
	return nil
}
