// SPDX-License-Identifier: Apache-2.0

package nats

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
	"time"
)

// mode is how ticks are in NATS.
type mode string

const (
	auto      mode = "auto" // As jetstream if there is a stream with the subjects, and else as core.
	core      mode = "core"
	jetstream mode = "jetstream"
)

// upstream is what a URL says.
type upstream struct {
	servers  []string // nats://host:port, without users.
	user     *url.Userinfo
	login    Config // Which may have another by now.
	secure   bool
	subjects subjects
	mode     mode
	stream   string
	wildcard bool
	creds    string
	nkey     string
	tlsFiles [3]string // Authorities, certificate, key.
	timeout  time.Duration
	shown    string // The URL without secrets.
}

const urlForm = "want for example nats://user:password@127.0.0.1:4222?subject={topic}"

func schemeOf(s string) string {
	scheme, _, _ := strings.Cut(s, "://")
	return strings.ToLower(scheme)
}

// redact hides the user and the password.
func redact(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return "xxxxx"
	}
	authority, query, has := strings.Cut(rest, "?")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, _, hasPassword := strings.Cut(authority[:at], ":")
		if !hasPassword {
			user = "xxxxx" // A token.
		} else {
			user += ":xxxxx"
		}
		authority = user + authority[at:]
	}
	if has {
		authority += "?" + query
	}
	return scheme + "://" + authority
}

var escapes = strings.NewReplacer("{", "%7B", "}", "%7D")

// upstream cuts the URL apart. Its errors repeat nothing of it but the names of options.
func (c Config) upstream() (*upstream, error) {
	bad := func(format string, args ...any) (*upstream, error) {
		return nil, fmt.Errorf("nats URL: "+format, args...)
	}
	u := &upstream{mode: auto, timeout: c.timeout(), shown: c.String(), login: c}
	scheme, rest, ok := strings.Cut(c.URL, "://")
	if u.secure = strings.EqualFold(scheme, "tls"); !ok || !u.secure && !strings.EqualFold(scheme, "nats") {
		return bad("it is not valid, %s", urlForm)
	}
	if c.Timeout < 0 || u.timeout < 100*time.Millisecond {
		return nil, fmt.Errorf("nats timeout is %v, want 0 (%v) or at least 100ms", c.Timeout, DefaultTimeout)
	}
	if strings.ContainsAny(rest, " \t\r\n#\"") {
		return bad("it has a blank, # or \" in it: write them as %%20, %%23 and %%22")
	}
	authority, query, _ := strings.Cut(rest, "?")
	if strings.Contains(authority, "/") {
		return bad("it has a / before its options: write it as %%2F in a password, and leave it out behind the servers")
	}
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		hosts = authority[at+1:]
		who := authority[:at]
		if strings.Contains(who, "@") {
			return bad("it has two @: write the one in a user or password as %%40")
		}
		parsed, err := url.Parse("nats://" + who + "@host")
		if err != nil || parsed.User == nil || parsed.User.Username() == "" {
			return bad("its user and password can't be read: write all but letters and digits as %%XX")
		}
		u.user = parsed.User
	}
	for host := range strings.SplitSeq(hosts, ",") {
		if host == "" {
			return bad("a server is missing, %s", urlForm)
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "4222")
		}
		name, port, _ := net.SplitHostPort(host)
		if n, err := net.LookupPort("tcp", port); name == "" || err != nil || n == 0 || strings.ContainsAny(name, "*%") {
			return bad("a server is not valid, want host or host:port, several with commas between")
		}
		u.servers = append(u.servers, "nats://"+host)
	}
	if err := u.options(query); err != nil {
		return bad("%w", err)
	}
	return u, u.validateFiles()
}

var options = []string{"subject", "mode", "stream", "wildcard", "creds", "nkey", "tls_ca", "tls_cert", "tls_key"}

func (u *upstream) options(query string) error {
	values, err := url.ParseQuery(escapes.Replace(query))
	if err != nil {
		return errors.New("its options can't be read: write what is no letter or digit as %XX")
	}
	for name, all := range values {
		if !slices.Contains(options, name) {
			return fmt.Errorf("it has an option that is unknown, want %s", strings.Join(options, ", "))
		}
		if len(all) > 1 || all[0] == "" {
			return fmt.Errorf("its option %s is there twice, or empty", name)
		}
	}
	template := values.Get("subject")
	if template == "" {
		template = DefaultSubject
	}
	if u.subjects, err = newSubjects(template); err != nil {
		return err
	}
	u.stream, u.creds, u.nkey = values.Get("stream"), values.Get("creds"), values.Get("nkey")
	if m := values.Get("mode"); m != "" {
		u.mode = mode(m)
	} else if u.stream != "" {
		u.mode = jetstream
	}
	u.tlsFiles = [3]string{values.Get("tls_ca"), values.Get("tls_cert"), values.Get("tls_key")}
	switch w := values.Get("wildcard"); {
	case u.mode != auto && u.mode != core && u.mode != jetstream:
		return errors.New("its option mode wants auto, core or jetstream")
	case w != "" && w != "true" && w != "false":
		return errors.New("its option wildcard wants true or false")
	case w == "true" && u.mode == jetstream:
		return errors.New("its option wildcard is for mode=core: a stream is read as a whole")
	case u.stream != "" && u.mode != jetstream:
		return errors.New("its option stream is for mode=jetstream")
	case strings.ContainsAny(u.stream, " .*>/\\") || len(u.stream) > 255:
		return errors.New("its stream is no name of a stream")
	case u.creds != "" && u.nkey != "", (u.creds != "" || u.nkey != "") && u.user != nil:
		return errors.New("it has more than one of user, creds and nkey: want one")
	case (u.tlsFiles[1] == "") != (u.tlsFiles[2] == ""):
		return errors.New("its options tls_cert and tls_key belong together")
	default:
		u.wildcard = w == "true"
	}
	return nil
}

// validateFiles finds files that are not there, so that an operator hears of them at the start.
func (u *upstream) validateFiles() error {
	for _, f := range []string{u.creds, u.nkey} {
		if f == "" {
			continue
		}
		if _, err := os.ReadFile(f); err != nil {
			return fmt.Errorf("nats URL: its credentials: %w", err)
		}
	}
	_, err := u.tlsConfig()
	return err
}

// tlsConfig reads the files for TLS. It is nil if there are none, and TLS is not asked for.
func (u *upstream) tlsConfig() (*tls.Config, error) {
	if !u.secure && u.tlsFiles == [3]string{} {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := u.tlsFiles[0]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("nats URL: its tls_ca: %w", err)
		}
		if cfg.RootCAs, err = x509.SystemCertPool(); err != nil {
			cfg.RootCAs = x509.NewCertPool()
		}
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("nats URL: its tls_ca %s has no certificate in PEM", file)
		}
	}
	if u.tlsFiles[1] != "" {
		pair, err := tls.LoadX509KeyPair(u.tlsFiles[1], u.tlsFiles[2])
		if err != nil {
			return nil, fmt.Errorf("nats URL: its tls_cert and tls_key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
