// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"tickedge/internal/flags"
	"tickedge/internal/trade"
)

// entry is what a name says that stands in -symbols without a file.
func (c *Config) entry(name string) (trade.Entry, error) {
	source, vendor, ok := strings.Cut(name, ":")
	low := strings.ToLower(source)
	if !ok && slices.Contains(c.names, inSim) {
		return simEntry(name), nil
	}
	if !ok || vendor == "" || !slices.Contains(append([]string{inSim, inFile}, exchanges...), low) {
		return trade.Entry{}, fmt.Errorf("-symbols has %s, want an exchange and its name of a symbol, such as %s, or -symbols-file", flags.Quote(name), example(""))
	}
	return trade.Entry{Symbol: name, Source: low, Vendor: vendor}, nil
}

func simEntry(name string) trade.Entry { return trade.Entry{Symbol: name, Source: inSim, Vendor: name} }

func example(exchange string) string {
	return map[string]string{"binance": "BINANCE:BTCUSDT", "finnhub": "FINNHUB:AAPL", inSim: "AAPL"}[exchange] + map[bool]string{true: "COINBASE:BTC-USD"}[!slices.Contains([]string{"binance", "finnhub", inSim}, exchange)]
}

// selected are the entries of names, and what aliases among them are of.
func selected(entries []trade.Entry, names []string) (some []trade.Entry, err error) {
	at := make(map[string]int)
	for i, e := range entries {
		at[e.Symbol] = i
	}
	take := make([]bool, len(entries))
	for _, name := range names {
		i, ok := at[name]
		if !ok {
			return nil, fmt.Errorf("-symbols has %s, and -symbols-file has not", flags.Quote(name))
		}
		take[i] = true
		for _, of := range entries[i].Of {
			if j, ok := at[of]; ok {
				take[j] = true
			}
		}
	}
	for i, e := range entries {
		if take[i] {
			some = append(some, e)
		}
	}
	return some, nil
}

// symbolsFileMax bounds what is read: 100,000 symbols with all that can be said of them.
const symbolsFileMax = 32 << 20

func readSymbols(path string) ([]trade.Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var file struct {
		Symbols []trade.Entry `yaml:"symbols"`
	}
	d := yaml.NewDecoder(io.LimitReader(f, symbolsFileMax))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(file.Symbols) == 0 {
		return nil, fmt.Errorf("%s: want a list symbols, each with symbol and source", path)
	}
	return file.Symbols, nil
}
