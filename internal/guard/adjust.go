// SPDX-License-Identifier: Apache-2.0

package guard

// table makes room for the prefixes that came lately, which is none if there is no rate of theirs.
func (m meter) table() (recent [shardCount][][ways]visitor) {
	if m.limited() {
		for i := range recent {
			recent[i] = make([][ways]visitor, setsPerShard)
		}
	}
	return recent
}

// Adjust has a guard go by other limits from now on. Connections that are held stay, and count. A rate that
// is another one begins with full buckets, as its clock runs at another pace. It panics as [New] does.
func (g *Guard) Adjust(cfg Config) {
	if cfg.ConnsPerPrefix < 0 {
		panic("guard: Config.ConnsPerPrefix is out of range")
	}
	total, perPrefix := newMeter(cfg.Total), newMeter(cfg.PerPrefix)
	recent := perPrefix.table()
	for i := range g.shards {
		g.shards[i].Lock()
		defer g.shards[i].Unlock()
	}
	g.conns = uint32(cfg.ConnsPerPrefix)
	if total != g.total {
		g.total = total
		g.full.Store(0)
		g.line.Store(0)
	}
	if perPrefix != g.perPrefix {
		g.perPrefix = perPrefix
		for i := range g.shards {
			g.shards[i].recent = recent[i]
		}
	}
}
