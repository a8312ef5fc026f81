# Reads a mirror with Active Record: ruby activerecord_reader.rb DATABASE
#
# It is called as docs/sql.md says. tests/support/reader_programs.py has the protocol.

require 'json'
require 'active_record'

FORMAT = '%Y-%m-%d %H:%M:%S.%L'

place = JSON.parse(ARGV[0], symbolize_names: true)
SQLITE = place.key?(:file)
ActiveRecord::Base.establish_connection(
  if SQLITE
    { adapter: 'sqlite3', database: place[:file], readonly: true }
  else
    { adapter: 'postgresql', **place.except(:user), username: place[:user] }
  end
)

# The model of a table or view.
MODELS = Hash.new do |models, name|
  models[name] = Class.new(ActiveRecord::Base) do
    self.table_name = name
    self.inheritance_column = nil
  end
end

def bind(text, how)
  time = Time.find_zone!('UTC').parse(text)
  SQLITE && how != 'date' ? time.strftime(FORMAT) : time
end

def plain(value)
  case value
  when Time, ActiveSupport::TimeWithZone then value.utc.strftime(FORMAT)
  when Date then value.iso8601
  when BigDecimal then value.to_f
  else value
  end
end

def query(step)
  values = step['values'].map { |text| bind(text, step['bind']) }
  model = MODELS[step['sql'][/FROM (\w+)/, 1]]
  model.find_by_sql([step['sql'], *values]).map do |record|
    # A record has an id of null where the query has none.
    attributes = step['sql'].start_with?('SELECT *') ? record.attributes : record.attributes.compact
    attributes.transform_values { |value| plain(value) }
  end
end

def answer(step)
  JSON.generate(rows: query(step))
rescue ActiveRecord::ActiveRecordError => e
  JSON.generate(error: e.message)
end

$stdout.sync = true
$stdin.each_line do |line|
  step = JSON.parse(line)
  unless step['begin']
    puts answer(step)
    next
  end
  ActiveRecord::Base.transaction(**(SQLITE ? {} : { isolation: :repeatable_read })) do
    puts answer(step)
    $stdin.each_line { |later| puts answer(JSON.parse(later)) }
  end
end
