// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"testing"

	"tickedge/internal/broker/brokertest"
)

// What all brokers promise.
func TestBroker(t *testing.T) {
	brokertest.Source(t, brokerRig)
	brokertest.Publisher(t, brokerRig)
}

func brokerRig(*testing.T) *brokertest.Rig {
	const inside = "it is inside of the process, and never away"
	cfg := Private()
	return &brokertest.Rig{
		Config: cfg,
		Stored: func(topic string) string {
			cfg.own.mu.Lock()
			defer cfg.own.mu.Unlock()
			if e := cfg.own.values[topic]; e != nil {
				return e.value
			}
			return ""
		},
		Without: map[string]string{
			"outage":                    inside,
			"wanted during an outage":   inside,
			"ends during an outage":     inside,
			"covered after an outage":   inside,
			"retries":                   inside,
			"gives up with its context": inside,
			"forbidden":                 "it knows no users",
			"refused":                   "it knows no users",
			"bad values":                "only its publisher writes to it, and takes none: see without versions",
		},
	}
}
