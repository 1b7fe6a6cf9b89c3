// SPDX-License-Identifier: Apache-2.0

// Package kafka writes trades and closed bars to Kafka, and reads trades from it in a consumer group: each
// partition goes on from the checkpoint of its shard. It alone knows franz-go.
//
//	config.go     what can be set; url.go has where Kafka is
//	message.go    trades and bars as records; json.go in JSON
//	topics.go     whether topics are there, making them, and what is read and written at once
//	writer.go     writing
//	reader.go     reading: the group; partition.go has one partition
package kafka

import (
	"cmp"
	"fmt"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config is where Kafka is.
type Config struct {
	// URL is
	//
	//	kafka://[user:password@]host[:port][,host[:port]…][?options]
	//
	// kafka+tls in place of kafka wants TLS. The servers are some of the cluster, which names the others. The
	// options are
	//
	//	sasl=plain, scram-sha-256 or scram-sha-512   how the user is shown; by default scram-sha-512. plain wants TLS
	//	tls_ca=FILE                                  authorities of the certificates, besides those of the system
	//	tls_cert=FILE, tls_key=FILE                  the certificate that is shown to the servers, and its key
	URL string
	// Timeout bounds a dial and the silence after a request. The default is [DefaultTimeout].
	Timeout time.Duration
	// ClientID is what Kafka's logs and quotas call this process. The default is tickedge.
	ClientID string
}

// DefaultTimeout is the timeout that a configuration without one has.
const DefaultTimeout = 10 * time.Second

// Limits of what is read and written.
const (
	RecordMax = 64 << 10 // Bytes of a record's value. What is larger is flawed.
	KeyMax    = 512      // Bytes of its key.

	fetchMax     = 8 << 20 // Bytes of a fetch, and of one of its partitions. A batch that is larger comes alone.
	fetchPartMax = 1 << 20
	inflatedMax  = 64 << 20 // Bytes of a batch that was compressed.
	replyMax     = 96 << 20 // Bytes of any reply.
)

// String is the URL, with xxxxx for the password.
func (c Config) String() string { return redact(c.URL) }

// Validate returns what is wrong with c, or nil. It never repeats a URL, which may hold a password.
func (c Config) Validate() error {
	_, err := c.options()
	return err
}

// options are those of every client.
func (c Config) options() ([]kgo.Opt, error) {
	timeout := cmp.Or(c.Timeout, DefaultTimeout)
	if timeout < 100*time.Millisecond {
		return nil, fmt.Errorf("kafka timeout is %v, want 0 (%v) or at least 100ms", c.Timeout, DefaultTimeout)
	}
	u, err := parseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("kafka URL: %w", err)
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(u.servers...),
		kgo.ClientID(cmp.Or(c.ClientID, "tickedge")),
		kgo.SoftwareNameAndVersion("tickedge", "v1"),
		kgo.DialTimeout(timeout),
		kgo.RequestTimeoutOverhead(timeout),
		kgo.BrokerMaxReadBytes(replyMax),
		kgo.DisableClientMetrics(),
	}
	if u.tls != nil {
		opts = append(opts, kgo.DialTLSConfig(u.tls))
	}
	if u.sasl != nil {
		opts = append(opts, kgo.SASL(u.sasl))
	}
	return opts, nil
}

var topicRule = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$`)

// checkTopic returns what is wrong with the name of a topic or a group. Kafka takes 249 bytes; keys of
// checkpoints are made of them, and are shorter.
func checkTopic(what, name string) error {
	if !topicRule.MatchString(name) {
		return fmt.Errorf("kafka %s is %.250q, want 1 to 200 letters, digits and . _ -, and none of . - first", what, name)
	}
	return nil
}
