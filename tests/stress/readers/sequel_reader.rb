# Reads a mirror with Sequel: ruby sequel_reader.rb DATABASE
#
# It is called as docs/sql.md says, and must run with TZ=UTC. tests/support/reader_programs.py has the
# protocol.

require 'bigdecimal'
require 'json'
require 'sequel'

FORMAT = '%Y-%m-%d %H:%M:%S.%L'

Sequel.default_timezone = :utc
place = JSON.parse(ARGV[0], symbolize_names: true)
SQLITE = place.key?(:file)
DB = if SQLITE
       Sequel.connect(adapter: 'sqlite', database: place[:file], readonly: true)
     else
       Sequel.connect(adapter: 'postgres', **place)
     end

def bind(text, how)
  time = Sequel.string_to_datetime("#{text} UTC")
  SQLITE && how != 'date' ? time.utc.strftime(FORMAT) : time
end

def plain(value)
  case value
  when Time then value.utc.strftime(FORMAT)
  when Date then value.iso8601
  when BigDecimal then value.to_f
  else value
  end
end

def query(step)
  values = step['values'].map { |text| bind(text, step['bind']) }
  DB.fetch(step['sql'], *values).map { |row| row.transform_values { |value| plain(value) } }
end

def answer(step)
  JSON.generate(rows: query(step))
rescue Sequel::Error => e
  JSON.generate(error: e.message)
end

$stdout.sync = true
$stdin.each_line do |line|
  step = JSON.parse(line)
  unless step['begin']
    puts answer(step)
    next
  end
  DB.transaction(**(SQLITE ? {} : { isolation: :repeatable, read_only: true })) do
    puts answer(step)
    $stdin.each_line { |later| puts answer(JSON.parse(later)) }
  end
end
