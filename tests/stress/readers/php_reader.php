<?php
// Reads a mirror with PDO: php php_reader.php DATABASE
//
// It is called as docs/sql.md says. tests/support/reader_programs.py has the protocol.

const FORMAT = 'Y-m-d H:i:s.v';

function connect(array $place): PDO
{
    if (isset($place['file'])) {
        $flags = [PDO::SQLITE_ATTR_OPEN_FLAGS => PDO::SQLITE_OPEN_READONLY];
        return new PDO("sqlite:{$place['file']}", null, null, $flags);
    }
    $server = "host={$place['host']};port={$place['port']};dbname={$place['database']}";
    return new PDO("pgsql:$server;options='-c timezone=UTC'", $place['user']);
}

function bind(string $text, string $how): string
{
    $time = new DateTimeImmutable($text, new DateTimeZone('UTC'));
    return $time->format($how === 'date' ? DATE_RFC3339_EXTENDED : FORMAT);
}

function rows(PDO $db, array $step): array
{
    $statement = $db->prepare($step['sql']);
    $statement->execute(array_map(fn ($text) => bind($text, $step['bind']), $step['values']));
    $rows = $statement->fetchAll(PDO::FETCH_ASSOC);
    foreach ($rows as &$row) {
        foreach (array_intersect($step['times'], array_keys($row)) as $name) {
            // The text of a time has no offset in SQLite, and +00 in Postgres.
            $time = $row[$name] === null ? null : new DateTimeImmutable($row[$name], new DateTimeZone('UTC'));
            $row[$name] = $time?->format(FORMAT);
        }
    }
    return $rows;
}

$place = json_decode($argv[1], true);
$db = connect($place);
while ($line = fgets(STDIN)) {
    $step = json_decode($line, true);
    try {
        if ($step['begin']) {
            $db->exec(isset($place['file']) ? 'BEGIN' : 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
        }
        echo json_encode(['rows' => rows($db, $step)], JSON_THROW_ON_ERROR), "\n";
    } catch (PDOException $error) {
        echo json_encode(['error' => $error->getMessage()]), "\n";
    }
}
