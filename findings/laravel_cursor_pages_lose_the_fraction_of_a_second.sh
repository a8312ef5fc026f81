#!/usr/bin/env bash
# Laravel's cursor pages of models cut times to seconds: rows are skipped, or a page comes forever.
#
# What a good engineer expects: cursorPaginate() reads each row once, whatever is written meanwhile,
# if the order is total. `orderByDesc('created_at')->orderByDesc('id')` is, and the column, the
# model's $dateFormat and its cast all have microseconds.
#
# What happens: the cursor holds the values of a page's last row. Eloquent gives the time as a Carbon
# object, and the paginator casts it to string, which is "Y-m-d H:i:s" whatever the formats are. With
# the newest first, the next page starts before that whole second: the rest of the second's rows are
# left out, in every reading. With the oldest first, it starts at the second's begin: rows come
# again, and where one second fills a page the cursor never moves on, so that a client that follows
# `next_cursor` reads the same page forever. The query builder without models is not concerned.
#
# Whom it hurts: those who offer or read such a list where several rows come per second: imports,
# queues, events. Tests with one row per second pass, and so do tables made by
# `$table->timestamps()`, which have whole seconds. The reader's only sign is a count, or an id that
# is seen twice.
#
# What helps: page over the query builder (`->toBase()->cursorPaginate()`), or order by id alone. A
# reader should stop at a page that it has seen, and compare the count where the list has one.
#
# Seen with: illuminate/database and illuminate/pagination 8.83.26 and Carbon 2.65.0 as packaged by
# Debian 12, PHP 8.2, SQLite (the cursor is made in PHP, for any database). Laravel's newest source
# casts in the same way. It needs Debian 12 on x86-64 with package lists (`apt-get update`).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
cd "$folder"
illuminate=8.83.26+dfsg-2
apt-get download --quiet --quiet \
  php-illuminate-{collections,container,contracts,database,macroable,pagination,support}="$illuminate" \
  php-nesbot-carbon php-doctrine-inflector php-psr-container php-psr-simple-cache php-voku-portable-ascii \
  php-symfony-{console,deprecation-contracts,service-contracts,string,translation,translation-contracts} \
  php8.2-{cli,common,mbstring,sqlite3} libargon2-1 libonig5 libsodium23 libsqlite3-0 libxml2 2> log ||
  { cat log; exit 1; }
for package in *.deb; do dpkg -x "$package" .; done

cat > read.php <<'PHP'
<?php
require 'Illuminate/Database/autoload.php';
require 'Illuminate/Pagination/autoload.php';

use Illuminate\Database\Capsule\Manager;
use Illuminate\Database\Eloquent\Model;

class Entry extends Model
{
    protected $dateFormat = 'Y-m-d H:i:s.u';
    protected $casts = ['created_at' => 'datetime:Y-m-d H:i:s.u'];
}

$database = new Manager();
$database->addConnection(['driver' => 'sqlite', 'database' => ':memory:']);
$database->setAsGlobal();
$database->bootEloquent();
$database->schema()->create('entries', fn ($table) => [$table->id(), $table->timestamps(6)]);
for ($second = 0; $second < 3; $second++) {
    foreach (['100000', '200000', '300000', '400000'] as $fraction) {
        Entry::forceCreate(['created_at' => "2026-01-01 12:00:0$second.$fraction"]);
    }
}

$read = function ($query) {
    $pages = [];
    $cursor = null;
    do {
        $page = $query->clone()->cursorPaginate(3, ['*'], 'cursor', $cursor);
        $pages[] = implode(' ', array_map(fn ($row) => $row->id, $page->items())) ?: 'none';
        $cursor = $page->nextCursor();
    } while ($cursor && count($pages) < 6);
    return implode(', ', $pages) . ($cursor ? ', ...' : '');
};

$queries = [
    'models, newest first' => Entry::orderByDesc('created_at')->orderByDesc('id'),
    'models, oldest first' => Entry::orderBy('created_at')->orderBy('id'),
    'query builder, newest first' => Entry::orderByDesc('created_at')->orderByDesc('id')->toBase(),
    'query builder, oldest first' => Entry::orderBy('created_at')->orderBy('id')->toBase(),
    'models, by id' => Entry::orderByDesc('id'),
];
echo $read($queries[$argv[1]]);
PHP

read_ids() {
  env LD_LIBRARY_PATH="$folder/usr/lib/x86_64-linux-gnu" "$folder/usr/bin/php8.2" -n \
    -d include_path="$folder/usr/share/php" -d extension_dir="$(echo "$folder"/usr/lib/php/20*)" \
    -d extension=ctype -d extension=mbstring -d extension=pdo -d extension=pdo_sqlite read.php "$1"
}
expect() {
  printf '%-28s %s\n' "$1" "$2"
  [ "$2" = "$3" ] || { echo "this has changed; expected: $3"; exit 1; }
}
check() { expect "$1" "$(read_ids "$1")" "$2"; }

check "models, newest first" "12 11 10, 8 7 6, 4 3 2, none"
check "models, oldest first" "1 2 3, 1 2 3, 1 2 3, 1 2 3, 1 2 3, 1 2 3, ..."
check "query builder, newest first" "12 11 10, 9 8 7, 6 5 4, 3 2 1"
check "query builder, oldest first" "1 2 3, 4 5 6, 7 8 9, 10 11 12"
check "models, by id" "12 11 10, 9 8 7, 6 5 4, 3 2 1"
