-- +goose Up
-- For people: decimal numbers and times.
CREATE VIEW history AS
SELECT s.name AS symbol, b.tf, to_timestamp(b.start / 1000.0) AS start,
	b.open / 10::numeric ^ b.price_scale AS open, b.high / 10::numeric ^ b.price_scale AS high,
	b.low / 10::numeric ^ b.price_scale AS low, b.close / 10::numeric ^ b.price_scale AS close,
	b.volume / 10::numeric ^ b.size_scale AS volume,
	b.turnover / 10::numeric ^ (b.price_scale + b.size_scale) AS turnover, b.count, b.rev
FROM history_bars b JOIN history_symbols s ON s.id = b.symbol;

-- +goose Down
DROP VIEW history;
