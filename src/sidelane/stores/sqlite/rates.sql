-- Limits by time.
-- Tables: rates.

-- :arrival
-- Parameters: bound.
SELECT tat FROM rates WHERE bound = ?

-- :keep
-- Parameters: bound, most, window, burst, tat, when one more may come.
INSERT INTO rates (bound, most, window, burst, tat) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT DO UPDATE SET most = ?2, window = ?3, burst = ?4, tat = ?5, wake = max(wake, ?6)

-- :await
-- Parameters: at, bound.
UPDATE rates SET wake = ? WHERE bound = ? AND wake IS NULL

-- :clamp
-- Parameters: now, limit.
UPDATE rates SET tat = min(tat, ?1 + burst * window / most), wake = min(wake, ?1 + window / most)
 WHERE bound IN (SELECT bound FROM rates WHERE tat > ?1 + burst * window / most OR wake > ?1 + window / most LIMIT ?2)

-- :forget
-- Parameters: now, limit.
DELETE FROM rates
 WHERE bound IN (SELECT bound FROM rates INDEXED BY rates_over WHERE tat <= ? AND wake IS NULL LIMIT ?)
