//! Values on their way to PostgreSQL and back.
use std::sync::Arc;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::super::executor::Row;
use super::super::statement::{Statement, Value};
use super::{Failure, Numbered};

type AnyError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, AnyError> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => match *of {
                Type::INT2 => i16::try_from(*number)?.to_sql(of, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(of, out),
                Type::INT8 => number.to_sql(of, out),
                _ => Err(format!("a number where the database wants {of}").into()),
            },
            Self::Text(text) if <&str as ToSql>::accepts(of) => text.to_sql(of, out),
            Self::Blob(bytes) if *of == Type::BYTEA => bytes.to_sql(of, out),
            Self::Text(_) => Err(format!("text where the database wants {of}").into()),
            Self::Blob(_) => Err(format!("bytes where the database wants {of}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, AnyError> {
        Ok(match *of {
            Type::INT2 => Self::Integer(i16::from_sql(of, raw)?.into()),
            Type::INT4 => Self::Integer(i32::from_sql(of, raw)?.into()),
            Type::INT8 => Self::Integer(i64::from_sql(of, raw)?),
            Type::BYTEA => Self::Blob(Vec::from_sql(of, raw)?),
            _ => Self::Text(String::from_sql(of, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, AnyError> {
        Ok(Self::Null)
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT2 | Type::INT4 | Type::INT8 | Type::BYTEA) || <String as FromSql>::accepts(of)
    }
}

/// The parameters of a statement in the order of their numbers; one that is missing or left over is an error.
pub(super) fn to_parameters<'a>(
    numbered: &Numbered,
    statement: &'a Statement,
) -> Result<Vec<&'a (dyn ToSql + Sync)>, Failure> {
    let count = statement.parameters.len();
    if count != numbered.names.len() {
        return Err(Failure::Other(format!("{count} parameters for {}", numbered.sql)));
    }
    let find = |name: &String| {
        let found = statement.parameters.iter().find(|(known, _)| known == name);
        let missing = || Failure::Other(format!("no parameter {name} for {}", numbered.sql));
        found.map(|(_, value)| value as &(dyn ToSql + Sync)).ok_or_else(missing)
    };
    numbered.names.iter().map(find).collect()
}

/// A row of an answer.
pub(super) fn row_of(columns: &Arc<[String]>, row: &tokio_postgres::Row) -> Result<Row, Failure> {
    let values: Result<Vec<Value>, _> = (0..columns.len()).map(|index| row.try_get(index)).collect();
    Ok(Row::new(Arc::clone(columns), values?))
}
