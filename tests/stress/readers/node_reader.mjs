// Reads a mirror with one of the readers of Node.js: node node_reader.mjs READER DATABASE
//
// Each reader is opened and called as docs/sql.md says. tests/support/reader_programs.py has the
// protocol.

import { createInterface } from 'node:readline';

const toText = (date) => date.toISOString().replace('T', ' ').slice(0, -1);
const toDate = (text) => new Date(text.replace(' ', 'T') + 'Z');

// In SQLite times are text, which is what must be bound, too.
const sqlite = { read: (text) => toDate(text), bind: toText };
const postgres = { read: (date) => date, bind: (date) => date };

async function openPg({ host, port, user, database }) {
  const { default: pg } = await import('pg');
  pg.defaults.parseInputDatesAsUTC = true;
  pg.types.setTypeParser(pg.types.builtins.DATE, (text) => text);
  pg.types.setTypeParser(pg.types.builtins.INT8, BigInt);
  return { pg, connection: { host, port, user, database } };
}

const READERS = {
  async 'better-sqlite3'({ file }) {
    const { default: Database } = await import('better-sqlite3');
    const db = new Database(file, { readonly: true, fileMustExist: true }).defaultSafeIntegers();
    return {
      ...sqlite,
      all: (sql, ...values) => db.prepare(sql).all(...values),
      begin: () => db.exec('BEGIN'),
    };
  },

  async 'node:sqlite'({ file }) {
    const { DatabaseSync } = await import('node:sqlite');
    const db = new DatabaseSync(file, { readOnly: true });
    return {
      ...sqlite,
      all(sql, ...values) {
        const statement = db.prepare(sql);
        statement.setReadBigInts(true);
        return statement.all(...values);
      },
      begin: () => db.exec('BEGIN'),
    };
  },

  async libsql({ file }) {
    const { createClient } = await import('@libsql/client');
    const client = createClient({ url: `file:${file}`, intMode: 'bigint' });
    let current = client;
    return {
      ...sqlite,
      all: async (sql, ...args) => (await current.execute({ sql, args })).rows,
      begin: async () => (current = await client.transaction('read')),
    };
  },

  async turso({ file }) {
    const { connect } = await import('@tursodatabase/database');
    const db = await connect(file, { readonly: true });
    db.defaultSafeIntegers(true);
    return { ...sqlite, all: async (sql, ...values) => (await db.prepare(sql)).all(...values) };
  },

  async 'knex with better-sqlite3'({ file }) {
    const { default: knex } = await import('knex');
    const connection = { filename: file, options: { readonly: true } };
    const pool = { afterCreate: (db, done) => done(null, db.defaultSafeIntegers()) };
    return inKnex(knex({ client: 'better-sqlite3', connection, pool, useNullAsDefault: true }), {
      ...sqlite,
      rows: (result) => result,
    });
  },

  async pg(job) {
    const { pg, connection } = await openPg(job);
    const client = new pg.Client(connection);
    await client.connect();
    return {
      ...postgres,
      all: async (sql, ...values) => (await client.query(sql.replace('?', '$1'), values)).rows,
      begin: () => client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'),
    };
  },

  async 'postgres.js'({ host, port, user, database }) {
    const { default: connect } = await import('postgres');
    const text = { to: 1082, from: [1082], serialize: String, parse: String };
    const types = { bigint: connect.BigInt, date: text };
    const sql = connect({ host, port, user, database, types, connection: { TimeZone: 'UTC' } });
    let current = sql;
    return {
      ...postgres,
      all: (query, ...values) => current.unsafe(query.replace('?', '$1'), values),
      begin: () =>
        new Promise((begun, failed) => {
          const open = (transaction) => {
            begun((current = transaction));
            return new Promise(() => {});
          };
          sql.begin('ISOLATION LEVEL REPEATABLE READ READ ONLY', open).catch(failed);
        }),
    };
  },

  async 'knex with pg'(job) {
    const { connection } = await openPg(job);
    const { default: knex } = await import('knex');
    return inKnex(knex({ client: 'pg', connection }), { ...postgres, rows: ({ rows }) => rows });
  },
};

function inKnex(db, { rows, ...reader }) {
  let current = db;
  const options = db.client.config.client === 'pg' ? { isolationLevel: 'repeatable read' } : {};
  return {
    ...reader,
    all: async (sql, ...values) => rows(await current.raw(sql, values)),
    begin: async () => (current = await db.transaction(options)),
  };
}

// JSON.parse of other programs keeps the digits of a large integer, that of JavaScript does not.
const toJson = (value) =>
  JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? JSON.rawJSON(`${item}`) : item));

async function query(reader, { sql, times, values, bind: how }) {
  const bind = how === 'date' ? toDate : (text) => reader.bind(toDate(text));
  const rows = await reader.all(sql, ...values.map(bind));
  const read = ([name, value]) => [
    name,
    times.includes(name) && value !== null ? toText(reader.read(value)) : value,
  ];
  return rows.map((row) => Object.fromEntries(Object.entries(row).map(read)));
}

const [name, database] = process.argv.slice(2);
const reader = await READERS[name](JSON.parse(database));
for await (const line of createInterface({ input: process.stdin })) {
  const step = JSON.parse(line);
  try {
    if (step.begin) await reader.begin();
    console.log(toJson({ rows: await query(reader, step) }));
  } catch (error) {
    console.log(toJson({ error: String(error) }));
  }
}
process.exit();
