// SPDX-License-Identifier: Apache-2.0

package market

import "hash/fnv"

// Symbol is something traded, as a simulation starts with it.
type Symbol struct {
	Name       string
	Price      float64
	Decimals   int
	Volatility float64 // Standard deviation of the yearly return: 0.3 is 30 %.
}

// known are the symbols that have a realistic start.
var known = []Symbol{
	{"AAPL", 229.87, 2, 0.27},
	{"MSFT", 415.49, 2, 0.24},
	{"NVDA", 141.95, 2, 0.55},
	{"AMZN", 197.12, 2, 0.32},
	{"GOOGL", 164.76, 2, 0.30},
	{"META", 559.14, 2, 0.36},
	{"TSLA", 352.56, 2, 0.60},
	{"AMD", 138.35, 2, 0.50},
	{"NFLX", 897.79, 2, 0.38},
	{"JPM", 248.55, 2, 0.23},
	{"V", 309.92, 2, 0.20},
	{"XOM", 121.79, 2, 0.25},
	{"SPY", 595.51, 2, 0.16},
	{"QQQ", 506.59, 2, 0.21},
	{"BTC-USD", 98997.66, 2, 0.60},
	{"ETH-USD", 3327.78, 2, 0.75},
	{"SOL-USD", 256.39, 2, 0.95},
	{"XRP-USD", 1.4664, 4, 0.90},
	{"EUR-USD", 1.04168, 5, 0.08},
	{"GBP-USD", 1.25301, 5, 0.09},
	{"USD-JPY", 154.783, 3, 0.11},
	{"USD-CHF", 0.89392, 5, 0.09},
	{"XAU-USD", 2716.19, 2, 0.15},
	{"WTI-USD", 71.24, 2, 0.38},
}

// DefaultSymbols returns the names of a small market: shares, crypto, currencies and
// commodities.
func DefaultSymbols() []string {
	names := make([]string, len(known))
	for i, s := range known {
		names[i] = s.Name
	}
	return names
}

// lookup returns a symbol's start. That of an unknown one follows from its name, so
// that it is the same whatever other symbols there are.
func lookup(name string) Symbol {
	for _, s := range known {
		if s.Name == name {
			return s
		}
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	sum := h.Sum32()
	return Symbol{
		Name:       name,
		Price:      10 + float64(sum%49000)/100,
		Decimals:   2,
		Volatility: 0.2 + float64(sum>>16%50)/100,
	}
}
