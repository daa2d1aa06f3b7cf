//! A private certificate authority and a server certificate that it signed, as PEM files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use openssl::{
    asn1::Asn1Time,
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName},
    },
};

use crate::scratch::Scratch;

/// Files in a directory of their own, for 127.0.0.1 and localhost, valid for a day.
#[derive(Debug)]
pub struct Certificates {
    directory: Scratch,
}

impl Certificates {
    /// Makes a new authority and a new server certificate.
    pub fn new() -> Result<Self> {
        let directory = Scratch::new("certificates")?;
        let (authority_key, authority) = authority()?;
        let key = new_key()?;
        let server = server(&key, &authority_key, &authority)?;
        let mut server_pem = key.private_key_to_pem_pkcs8()?;
        server_pem.extend(server.to_pem()?);
        fs::write(directory.path().join("ca.pem"), authority.to_pem()?)?;
        fs::write(directory.path().join("server.pem"), server_pem)?;
        Ok(Self { directory })
    }

    /// The authority's certificate: what a client trusts.
    pub fn authority(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The server's private key (PKCS#8) and certificate in one file.
    pub fn server(&self) -> PathBuf {
        self.file("server.pem")
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::join(self.directory.path(), name)
    }
}

fn new_key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

fn authority() -> Result<(PKey<Private>, X509)> {
    let key = new_key()?;
    let mut builder = unsigned("millrace test authority", &key)?;
    let name = name("millrace test authority")?;
    builder.set_issuer_name(&name)?;
    builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((key, builder.build()))
}

fn server(key: &PKey<Private>, authority_key: &PKey<Private>, authority: &X509) -> Result<X509> {
    let mut builder = unsigned("millrace test server", key)?;
    builder.set_issuer_name(authority.subject_name())?;
    let names = {
        let context = builder.x509v3_context(Some(authority), None);
        SubjectAlternativeName::new().ip("127.0.0.1").dns("localhost").build(&context)?
    };
    builder.append_extension(names)?;
    // mongod presents the same certificate when it connects to itself.
    builder.append_extension(ExtendedKeyUsage::new().server_auth().client_auth().build()?)?;
    builder.sign(authority_key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn unsigned(subject: &str, key: &PKey<Private>) -> Result<X509Builder> {
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&*name(subject)?)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(1)?)?;
    Ok(builder)
}

fn name(common_name: &str) -> Result<openssl::x509::X509Name> {
    let mut builder = X509NameBuilder::new()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(builder.build())
}
