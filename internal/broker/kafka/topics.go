// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Topic is one that is to be there.
type Topic struct {
	Name string
	// Partitions is how many it is made with. The trades of a symbol are in one of them, so there are as many
	// shards at most. Of a topic that is there it is not asked.
	Partitions int32
	// Replicas is on how many servers each partition is; 0 is as the cluster has it by default.
	Replicas int16
}

// Prepare makes sure that topics are there, and makes those that are not, if it may. It waits until it can ask
// Kafka or ctx ends. The error says what to do, and trying again would not mend it unless ctx has ended.
func (c Config) Prepare(ctx context.Context, create bool, topics ...Topic) error {
	for _, t := range topics {
		if err := checkTopic("topic", t.Name); err != nil {
			return err
		}
		if t.Partitions < 1 || t.Replicas < 0 {
			return fmt.Errorf("kafka topic %s: want at least 1 partition and 0 replicas", t.Name)
		}
	}
	a, err := c.admin(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	for _, t := range topics {
		if err := prepare(ctx, a, t, create); err != nil {
			return fmt.Errorf("kafka topic %s at %s: %w", t.Name, c, err)
		}
	}
	return nil
}

func (c Config) admin(ctx context.Context) (*kadm.Client, error) {
	opts, err := c.options()
	if err != nil {
		return nil, err
	}
	return kadm.NewOptClient(append(opts, kgo.WithContext(ctx))...)
}

func prepare(ctx context.Context, a *kadm.Client, t Topic, create bool) error {
	_, err := describe(ctx, a, t.Name)
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, kerr.UnknownTopicOrPartition):
		return err
	case !create:
		return fmt.Errorf("it is not there: make it, for example with kafka-topics.sh --create --topic %s --partitions %d",
			t.Name, t.Partitions)
	}
	replicas := t.Replicas
	if replicas == 0 {
		replicas = -1
	}
	keep := "delete" // A compacted topic would lose trades.
	_, err = a.CreateTopic(ctx, t.Partitions, replicas, map[string]*string{"cleanup.policy": &keep}, t.Name)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) { // By another process, meanwhile.
		return fmt.Errorf("it is not there, and can't be made: %w", err)
	}
	return nil
}

// describe returns what a topic is like.
func describe(ctx context.Context, a *kadm.Client, topic string) (kadm.TopicDetail, error) {
	m, err := a.Metadata(ctx, topic)
	if err != nil {
		return kadm.TopicDetail{}, err
	}
	d, ok := m.Topics[topic]
	if !ok {
		return d, kerr.UnknownTopicOrPartition
	}
	return d, d.Err
}

// CheckLoop returns an error if one of the topics that are written is the one that is read, of the same
// cluster: its trades would go round for ever. Clusters are told apart by their ids.
func CheckLoop(ctx context.Context, from Config, read string, to Config, written ...string) error {
	if !slices.Contains(written, read) {
		return nil
	}
	a, err1 := from.cluster(ctx)
	b, err2 := to.cluster(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("kafka: whether %s and %s are one cluster: %w", from, to, err)
	}
	if a != b {
		return nil
	}
	return fmt.Errorf("kafka topic %s of %s is read and written: its trades would go round for ever; want another topic to write", read, from)
}

// cluster returns what a cluster is called: by itself or, if it has no id, by its servers.
func (c Config) cluster(ctx context.Context) (string, error) {
	a, err := c.admin(ctx)
	if err != nil {
		return "", err
	}
	defer a.Close()
	m, err := a.BrokerMetadata(ctx)
	if err != nil {
		return "", err
	}
	if m.Cluster != "" {
		return m.Cluster, nil
	}
	var all []string
	for _, b := range m.Brokers {
		all = append(all, fmt.Sprintf("%s:%d", b.Host, b.Port))
	}
	slices.Sort(all)
	return strings.Join(all, ","), nil
}
